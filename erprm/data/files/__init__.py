"""Rows of files: JSON lines, Parquet, compressed files, the hub."""
