"""The formulas, as functions on tensors; all public ones are found in :mod:`erprm.metrics`."""
