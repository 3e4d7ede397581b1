"""Matrix expressions: nodes, shapes, the functions that make them, their grammar in and out."""
