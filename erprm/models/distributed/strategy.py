"""FSDP2 as a strategy of Lightning's trainer: ``trainer.strategy: fsdp2``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from erprm.models.distributed.checkpoints import exchange_folder, restore_folders
from erprm.models.distributed.untrusted import check_folder, refusing_code
from erprm.runs.atomic import hidden_name

METADATA_FILE = "meta.pt"
"""Files that Lightning adds to the folder of a sharded checkpoint, beside the parts of weights and optimizer states."""


class FSDP2Strategy(ModelParallelStrategy):
    """Each process has a part of every weight, gradient and optimizer state, and its own share of the batches.

    Lightning's ``ModelParallelStrategy`` with all processes data-parallel (its own default splits tensors among them).
    Modules spread their weights in ``configure_model``, as :class:`erprm.models.ProcessRewardModel` does. It runs on
    CPUs too, over gloo.

    Checkpoint folders are written under a temporary name, then renamed. Lightning 2.6 writes them in place, so a
    process killed while it overwrites ``last.ckpt`` leaves parts of two checkpoints in it. Here the earlier folder
    stays until the new one is whole. Between the two renames that exchange them neither has the name; the next process
    that reads from or writes beside it puts the earlier one back.
    """

    strategy_name = "fsdp2"

    def __init__(
        self,
        shard_size: int | None = None,
        reshard_after_forward: bool = True,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
    ) -> None:
        """Notes the settings.

        Args:
            shard_size: how many processes share one copy of the weights; by default all. With that of one machine,
                machines hold a copy each, and only gradients travel between them.
            reshard_after_forward: free a layer's gathered weights after its forward, and gather them again for its
                backward pass. False is faster and takes more memory.
            save_distributed_checkpoint: a checkpoint is a folder into which each process writes its part. False: one
                file, for which the first process gathers everything.
            process_group_backend: by default ``nccl`` on GPUs, ``gloo`` on CPUs.
            timeout: how long processes wait for each other.

        Raises:
            ValueError: if ``shard_size`` is below 1.
        """
        super().__init__(
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )
        if shard_size is not None and shard_size < 1:
            raise ValueError(f"strategy.shard_size is {shard_size}; it must be at least 1")
        self.shard_size = shard_size
        self.reshard_after_forward = reshard_after_forward
        self._sharding_mesh: DeviceMesh | None = None

    @property
    def sharding_mesh(self) -> DeviceMesh:
        """The processes that weights are spread over; of two dimensions if there are copies."""
        if self._sharding_mesh is None:
            raise RuntimeError("the processes have not been set up yet")
        return self._sharding_mesh

    def setup_environment(self) -> None:
        """Starts the processes' connection.

        Raises:
            ValueError: if ``shard_size`` does not divide the number of processes.
        """
        count = self.num_nodes * self.num_processes
        if self.shard_size is not None and count % self.shard_size:
            raise ValueError(
                f"strategy.shard_size is {self.shard_size}; it must divide the number of processes, {count}"
            )
        self._data_parallel_size, self._tensor_parallel_size = count, 1
        super().setup_environment()
        if self.shard_size in (None, count):
            self._sharding_mesh = self.device_mesh["data_parallel"]
        else:
            self._sharding_mesh = init_device_mesh(
                self.root_device.type,
                (count // self.shard_size, self.shard_size),
                mesh_dim_names=("replicate", "shard"),
            )

    def setup(self, trainer: L.Trainer) -> None:
        """Prepares for training or evaluation.

        Raises:
            ValueError: if a weight to be trained is not sharded; its gradients would differ between processes.
        """
        assert self.model is not None
        whole = [n for n, p in self.model.named_parameters() if p.requires_grad and not isinstance(p, DTensor)]
        if whole:
            raise ValueError(
                f"{len(whole)} weight(s) of {type(self.model).__name__} are not sharded, such as {whole[0]}; "
                "what is trained must be there when configure_model of the base class ends (build it in build_backbone)"
            )
        super().setup(trainer)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint; every process calls it."""
        path = Path(self.broadcast(filepath))
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        temporary = self.broadcast(hidden_name(path))
        if self.is_global_zero:
            restore_folders(path.parent)
        self.barrier()
        super().save_checkpoint(checkpoint, temporary, storage_options)
        self.barrier()
        if self.is_global_zero:
            exchange_folder(temporary, path)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint; every process calls it. Of a module that is not strict just what it trains is loaded.

        Raises:
            CheckpointError: if it names code, unless ``weights_only`` is False.
        """
        path = Path(self.broadcast(checkpoint_path))
        if self.is_global_zero:
            restore_folders(path.parent)
        self.barrier()
        weights_only = weights_only is not False
        if weights_only and path.is_dir():
            check_folder(path)
        assert self.lightning_module is not None
        with refusing_code(path):
            if self.lightning_module.strict_loading or not path.is_dir():
                return super().load_checkpoint(path, weights_only)
            return self._load_what_is_trained(path, weights_only)

    def _load_what_is_trained(self, path: Path, weights_only: bool) -> dict[str, Any]:
        assert self.model is not None
        trained = StateDictOptions(ignore_frozen_params=True, strict=False)
        weights = get_model_state_dict(self.model, options=trained)
        load_distributed({"state_dict": weights}, checkpoint_id=path)
        set_model_state_dict(self.model, weights, options=trained)
        for number, optimizer in enumerate(self.optimizers):
            state = get_optimizer_state_dict(self.model, optimizer)
            load_distributed({f"optimizer_{number}": state}, checkpoint_id=path)
            set_optimizer_state_dict(self.model, optimizer, state)
        rest: dict[str, Any] = torch.load(path / METADATA_FILE, weights_only=weights_only)
        return rest


StrategyRegistry.register(
    FSDP2Strategy.strategy_name, FSDP2Strategy, description="FSDP2: weights, gradients and optimizer states sharded"
)
