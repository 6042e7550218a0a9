"""A world of puzzles about orders and families, solved one deduction a line, with an exact checker of every line."""
