"""Other definitions of the same map, derived like any other, that are cheaper for some shapes."""
