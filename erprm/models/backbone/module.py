"""Base of the package's modules: one backbone of transformers, on a single process or spread over many."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from erprm.engines.model_files import BESIDE_FILE, check_model_folder, model_path
from erprm.models.attention.kernels import Attention
from erprm.models.backbone.embeddings import fit_embeddings
from erprm.models.backbone.loading import (
    BackboneError,
    Dtype,
    OptimizerFactory,
    SchedulerFactory,
    load_causal_lm,
)
from erprm.models.backbone.lora import LoRA, add_adapters, initialise_adapters, merged_state_dict, trained_state_dict
from erprm.models.backbone.sharded_loading import DeferredWeights
from erprm.models.backbone.weight_files import beside_backbone, load_beside, model_files, write_beside
from erprm.models.distributed.sharding import (
    LayerClasses,
    clip_gradients,
    compile_layers,
    gathered_state_dict,
    is_sharded,
    parallelize,
    shards_weights,
    unsharded_class,
    unsplit_layers,
)
from erprm.models.training.global_mean import GlobalMean
from erprm.models.training.resumable import ResumableModule


class BackboneModule(ResumableModule):
    """Builds its backbone, trains it with the mean loss over all processes, and writes it as a Hugging Face folder."""

    def __init__(
        self,
        backbone: str,
        tokenizer: str | None,
        gguf_file: str | None,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        dtype: Dtype,
        attn_implementation: Attention,
        gradient_checkpointing: bool,
        lora: LoRA | None,
        compile_layers: bool,
    ) -> None:
        """Notes the settings, which the subclasses describe."""
        super().__init__()
        self.backbone_path = model_path(backbone)
        self.tokenizer_path = model_path(tokenizer or backbone)
        self.gguf_file = gguf_file
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.dtype_name: Dtype = dtype
        self.attn_implementation: Attention = attn_implementation
        self.gradient_checkpointing = gradient_checkpointing
        self.lora = lora
        self.compile_layers = compile_layers
        self.backbone: PreTrainedModel | None = None
        # With adapters, checkpoints hold only what is trained.
        self.strict_loading = lora is None
        self._random_beside_backbone = False
        self._global_mean = GlobalMean()

    @property
    def backbone_tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer, with the tokens that are added to it."""
        raise NotImplementedError

    @property
    def learns_new_tokens(self) -> bool:
        """True if tokens were added that the backbone has not learned yet."""
        return False

    def is_trained_beside_adapters(self, name: str) -> bool:
        """True if, with LoRA, this backbone weight is trained as well; override for a new head."""
        return False

    def build_backbone(self) -> PreTrainedModel:
        """The backbone with its weights; override for one that ``AutoModelForCausalLM`` does not load.

        Parameters may be left on the meta device: they are then read, under their names, from the safetensors files of
        ``backbone_path``, of each the rows that this process keeps. Under FSDP2 this one leaves them so if it can.
        """
        return load_causal_lm(
            self.backbone_path,
            self.gguf_file,
            dtype=self.dtype_name,
            attn_implementation=self.attn_implementation,
            empty=shards_weights(self),
        )

    def layer_classes(self) -> LayerClasses:
        """The classes of the decoder layers: the units that are sharded, recomputed and compiled.

        By default those that the backbone names as not to be split over devices; override for a model that names none.
        """
        assert self.backbone is not None, "configure_model has not been called"
        return unsplit_layers(self.backbone)

    def configure_model(self) -> None:
        """Builds the backbone once, as the settings and the trainer's strategy say.

        Lightning calls this before fit, validate, test and predict.
        """
        if self.backbone is None:
            if not Path(self.backbone_path).is_file():  # A loader of the user's own may read one.
                check_model_folder(self.backbone_path, self.gguf_file)
            _ = self.backbone_tokenizer  # What is wrong with it is found before weights are loaded.
            self.set_up_backbone(self.build_backbone())

    def set_up_backbone(self, backbone: PreTrainedModel, *, load: bool = True) -> None:
        """Makes a model the backbone: with embeddings, adapters, recomputation and sharding as they are asked for.

        Args:
            backbone: of :meth:`build_backbone`, or of its kind.
            load: read the weights that are on the meta device, and those beside the backbone. False: they, and all
                that is added, stay as they are.
        """
        self.backbone = backbone
        if load:
            self._random_beside_backbone = not load_beside(self, self.backbone_path)
        fit_embeddings(backbone, self.backbone_tokenizer)
        deferred = DeferredWeights(backbone, self.backbone_path) if load else None
        if self.lora is not None:
            add_adapters(
                backbone,
                self.lora,
                train_embeddings=self.learns_new_tokens,
                # FSDP2 gathers the weights of a layer together, for which they have to be of one type.
                in_float32=not shards_weights(self),
            )
            for name, parameter in backbone.named_parameters():
                if self.is_trained_beside_adapters(name):
                    parameter.requires_grad_(True)
        if self.gradient_checkpointing:
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        if self.compile_layers:
            compile_layers(backbone, self.layer_classes())
        parallelize(self, self.layer_classes)
        if deferred is not None:
            deferred.load(backbone, self.device if self._trainer is None else self.trainer.strategy.root_device)
            if self.lora is not None:
                initialise_adapters(backbone)
        backbone.train(self.training)

    def refuse_random_weights(self) -> None:
        """Refuses a module with weights beside its backbone that nothing has been loaded into.

        Raises:
            BackboneError: naming one.
        """
        if self._random_beside_backbone:
            name = min(beside_backbone(self.state_dict()))
            raise BackboneError(
                f"{name} of {type(self).__name__} is random: {self.backbone_path!r} holds no {BESIDE_FILE}, so it was "
                "not saved by this class. Give a checkpoint of the training (--ckpt_path), or train it"
            )

    def on_fit_start(self) -> None:
        """Notes that what is random is going to be learned."""
        self._random_beside_backbone = False

    def on_test_start(self) -> None:
        """As :meth:`refuse_random_weights`."""
        self.refuse_random_weights()

    def on_validation_start(self) -> None:
        """As :meth:`on_test_start`."""
        self.on_test_start()

    def on_predict_start(self) -> None:
        """As :meth:`on_test_start`."""
        self.on_test_start()

    def mean_loss(self, losses_S: Tensor, weights_S: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights the losses of a batch by their number; see :class:`erprm.models.training.global_mean.GlobalMean`.

        Args:
            losses_S: losses of this process's batch ``[S]``.
            weights_S: how often each of them counts ``[S]``; ``None``: once.

        Returns:
            What ``training_step`` returns, and the mean over the batches of all processes.
        """
        return self._global_mean.loss(losses_S, self.trainer, weights_S)

    def on_after_backward(self) -> None:
        """Makes the accumulated gradient that of the mean over all accumulated losses, once the last batch is there.

        Lightning calls ``on_before_optimizer_step`` of callbacks before that of the module: there they see it right.
        """
        super().on_after_backward()
        if not self.trainer.fit_loop._should_accumulate():
            self._global_mean.rescale(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients, under every strategy."""
        if not clip_gradients(self, gradient_clip_val, gradient_clip_algorithm):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """The optimizer over trainable parameters, and the schedule, stepped at each of its steps.

        Raises:
            ValueError: if a schedule is asked for but the length of the training is not known.
        """
        optimizer = self.optimizer_factory([parameter for parameter in self.parameters() if parameter.requires_grad])
        if self.scheduler_factory is None:
            return optimizer
        schedule = self.scheduler_factory(optimizer, _optimizer_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves out weights that are not trained because there are adapters."""
        super().on_save_checkpoint(checkpoint)
        if self.lora is not None:
            checkpoint["state_dict"] = trained_state_dict(checkpoint["state_dict"], self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint without the adapters to be loaded.

        Raises:
            ValueError: naming a weight that it lacks.
        """
        super().on_load_checkpoint(checkpoint)
        self._random_beside_backbone = False
        saved = checkpoint.get("state_dict")
        if self.lora is not None and saved is not None:
            lacking = [name for name, p in self.named_parameters() if p.requires_grad and name not in saved]
            if lacking:
                raise ValueError(
                    f"the checkpoint lacks {len(lacking)} of the weights that model.lora trains, such as {lacking[0]}: "
                    "was it trained with the same lora?"
                )

    def whole_export(self, folder: Path) -> AbstractContextManager[Path]:
        """A hidden folder for the files of a model, which move into ``folder`` together; see :func:`model_files`.

        On a process that does not write, ``folder`` itself.
        """
        is_writer = not is_sharded(self) or self.global_rank == 0
        return model_files(folder) if is_writer else nullcontext(folder)

    def write_backbone(self, folder: Path) -> bool:
        """Writes the backbone as a Hugging Face folder, adapters merged into its weights, and the weights beside it.

        If the weights are sharded, all processes call it, and the first, which gathers and writes them, needs memory
        for all.

        Returns:
            Whether this process is the one that writes.
        """
        assert self.backbone is not None, "configure_model has not been called"
        sharded = is_sharded(self)
        if sharded:
            gathered = gathered_state_dict(self)
            if self.global_rank != 0:
                return False
            weights = {n.removeprefix("backbone."): w for n, w in gathered.items() if n.startswith("backbone.")}
            beside = beside_backbone(gathered)
        else:
            weights = self.backbone.state_dict()
            beside = beside_backbone(self.state_dict())
        if not sharded and self.lora is None:
            self.backbone.save_pretrained(folder)
        else:
            self._write_plain(weights, folder)
        write_beside(beside, folder, type(self).__name__)
        return True

    def _write_plain(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Writes weights that are gathered, or have adapters to be merged."""
        assert self.backbone is not None
        if self.lora is not None:
            weights = merged_state_dict(weights, self.backbone)
        # transformers takes the names from a model without adapters, and its class from one that is not sharded.
        with torch.device("meta"):
            plain = unsharded_class(type(self.backbone))(self.backbone.config)
        if plain.can_generate():
            plain.generation_config = self.backbone.generation_config
        plain.to(self.backbone.dtype).save_pretrained(folder, state_dict=weights)


def _optimizer_steps(trainer: L.Trainer) -> int:
    total_steps = trainer.estimated_stepping_batches
    # To count the batches Lightning has begun to load them, from the first on: where a resumed run stands is restored
    # later (Lightning 2.6, issue 20550). Without its loader it makes another when training starts.
    trainer.fit_loop.teardown()
    trainer.fit_loop._combined_loader = None
    if math.isinf(total_steps):
        raise ValueError("a schedule needs to know the length of the training: set trainer.max_epochs or max_steps")
    return int(total_steps)
