"""From expressions to straight-line programs: association, sharing, what backward needs."""
