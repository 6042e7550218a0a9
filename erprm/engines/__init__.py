"""Policies that complete prompts."""
