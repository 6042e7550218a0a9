"""Token ids, batches and their order."""
