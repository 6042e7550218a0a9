"""Parts of a training step and of its resumption."""
