"""Whether equations determine their outputs, in numbers: `variety` (points and tangents where they
hold), `determined` (what these say of the equations)."""
