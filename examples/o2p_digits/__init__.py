"""Second-order pooling on handwritten digits: the layer trained through, frozen, and left out."""
