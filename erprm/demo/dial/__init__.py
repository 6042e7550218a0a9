"""A world of a dial with ten positions: a small language in which the whole loop runs in minutes on a CPU."""
