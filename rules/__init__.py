"""The mathematics as data: identities, variations, invariants, rewrites and decompositions."""
