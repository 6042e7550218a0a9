"""Worlds with exact answers, in which the whole loop runs on a CPU."""
