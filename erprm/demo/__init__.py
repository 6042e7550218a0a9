"""The embedded world: a small language of word problems in which the whole loop runs in minutes on a CPU."""
