"""Passes over the finished values: thin sums joined, factors moved, storage chosen."""
