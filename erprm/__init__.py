"""Entropy-Regularized Process Reward Models (arXiv 2412.11006) on PyTorch Lightning.

Importing this package is cheap on purpose: it pulls in neither torch nor any other heavy library. Import what you
need from its parts, for example ``from erprm.rewards import entropy_regularized_reward``.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
