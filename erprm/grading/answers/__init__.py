"""Equality of two extracted answers: one spelling, outer structure, numbers, units, formulas."""
