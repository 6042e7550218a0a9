"""Sharding and the checkpoints of several processes."""
