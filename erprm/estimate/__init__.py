"""Estimates of time, memory and tokens, before anything is run."""
