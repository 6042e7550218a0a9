"""Statistics of step-labelled data."""
