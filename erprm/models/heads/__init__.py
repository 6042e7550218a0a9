"""Two-class heads, and models exported with one."""
