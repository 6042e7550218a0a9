"""Rollout records, problem sources, and the data module that turns them into packed batches."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.data.datamodule import ProcessRewardDataModule as ProcessRewardDataModule

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
