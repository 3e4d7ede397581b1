"""Normalized cuts of cell nuclei in one fluorescence image: an illustration, no benchmark."""
