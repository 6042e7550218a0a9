"""Step scores: who gives them, and how they are checked."""
