"""Killable processes for algebra that may never end, and a cache of their verdicts."""
