"""The values of a program, their algebra, and the order of their products and sums."""
