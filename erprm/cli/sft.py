"""``erprm sft``: supervised fine-tuning of a policy, with the keys of ``fit``."""

from __future__ import annotations

from collections.abc import Sequence

from erprm.cli.lightning import PolicyCLI, run_lightning
from erprm.data.policy import PolicyDataModule
from erprm.models import PolicyModel


def main(arguments: Sequence[str]) -> int:
    """Trains a policy."""
    keys = list(arguments)[1:]
    return run_lightning(PolicyCLI, PolicyModel, PolicyDataModule, ["fit", *keys], prog="erprm sft")
