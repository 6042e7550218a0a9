"""Rollout records, problem sources, and the data module that turns them into packed batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erprm.data.datamodule import ProcessRewardDataModule

__all__ = ["ProcessRewardDataModule"]


def __getattr__(name: str) -> Any:
    # Rollouts read and write records without paying for the import of Lightning.
    if name == "ProcessRewardDataModule":
        from erprm.data.datamodule import ProcessRewardDataModule

        return ProcessRewardDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
