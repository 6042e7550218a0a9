"""Processes that can be killed, for the algebra that may never end, and the memory of what they found."""
