"""Step scorers, and checks of their scores."""
