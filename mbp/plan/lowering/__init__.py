"""From expressions to values: one rule for each kind of node, and what is found once for all."""
