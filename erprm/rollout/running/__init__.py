"""Rollout runs: shards, executors, verification."""
