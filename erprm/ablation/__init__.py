"""Models at many settings and seeds, compared."""
