"""Backbones: loading, adapters, embeddings."""
