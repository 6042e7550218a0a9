"""Solutions, completions of their prefixes, and verdicts."""
