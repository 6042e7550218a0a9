"""Attention over packed rows and question trees."""
