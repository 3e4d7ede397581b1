"""The two-step recipe: the variation of a layer, then its adjoint, recorded as a proof."""
