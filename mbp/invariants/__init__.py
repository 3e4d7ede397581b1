"""What is known of a matrix: properties, what they imply, how they are inferred and projected."""
