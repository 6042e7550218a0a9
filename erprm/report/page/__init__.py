"""The results of some runs as one HTML page that needs nothing but a browser; docs/report.md describes it."""
