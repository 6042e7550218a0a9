"""The data module: rollout records -> labels at the configured eta -> packed batches."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from erprm.data.batching.packed_steps import PackedSteps
from erprm.data.batching.resumption import ResumableDataModule
from erprm.data.batching.tokenized import CountedFor, TokenizedRollouts
from erprm.data.labels import Estimate, LabelMethod, label_eta
from erprm.data.packing import PACKINGS, Packing, StepBatch, check_token_limits
from erprm.data.records import (
    RolloutRecord,
    content_fingerprint,
    read_records,
    records_fingerprint,
    validate_record,
)
from erprm.data.solutions import SolutionRow, read_solutions
from erprm.data.sources import validation_problems
from erprm.errors import FailedRunError
from erprm.eta import Eta, read_eta
from erprm.runs.identity import tokenizer_fingerprint
from erprm.steps import StepEncoder, check_step_style

_DEFAULT_ETA = 1.0
# When to warn that the training labels are nearly all equal.
_EQUAL_WITHIN, _EQUAL_SHARE = 0.01, 0.95
_SCORED_TOGETHER = 64
_BATCH_SETTINGS = ("max_tokens", "packing", "row_tokens", "max_length", "seed")


def default_cache_dir() -> Path:
    """``$ERPRM_CACHE``, or ``~/.cache/erprm``."""
    return Path(os.environ.get("ERPRM_CACHE") or "~/.cache/erprm").expanduser()


class ProcessRewardDataModule(ResumableDataModule):
    """Rollout records as packed, labelled batches for training a process reward model.

    The tokenizer and the step format come from the module being trained (its ``step_encoder``), so that training and
    scoring cannot disagree; give ``step_encoder`` to use the data with a module that has none. Batches hold counts of
    completions if the module asks for them (its ``counted_for``).

    To bring other data, override :meth:`records`.
    """

    def __init__(
        self,
        rollouts: str | None = None,
        validation_rollouts: str | None = None,
        validation_fraction: float = 0.05,
        test_rollouts: str | None = None,
        predict_solutions: str | None = None,
        predict_step_style: str = "lines",
        labels: LabelMethod = "er",
        eta: Eta = _DEFAULT_ETA,
        estimate: Estimate = "plug_in",
        max_tokens: int = 4096,
        packing: Packing = "trees",
        row_tokens: int | None = None,
        max_length: int = 512,
        max_unlabelled_share: float = 0.5,
        num_workers: int = 0,
        cache_dir: str | None = None,
        seed: int = 0,
        allow_change: bool = False,
        step_encoder: StepEncoder | None = None,
    ) -> None:
        """Checks the settings; nothing is read yet.

        Args:
            rollouts: Parquet file, folder of them, or hub id, of rollout records to train on.
            validation_rollouts: records to validate on; by default a share of the problems of ``rollouts``.
            validation_fraction: that share, by problem, in (0, 1).
            test_rollouts: records for ``test``; not needed where callbacks bring what is tested, as
                :class:`erprm.callbacks.BestOfN` does (its ``brings_test_data`` says so).
            predict_solutions: JSONL file of solutions for ``predict`` (see :mod:`erprm.data.solutions`).
            predict_step_style: how a solution given as one text is split into steps: ``lines``, ``paragraphs``,
                ``numbered``, ``math_shepherd``, ``sentences``, ``regex:PATTERN``, ``auto``, or the import path of a
                function.
            labels: ``er``, ``soft``, ``hard`` or ``outcome`` (see :mod:`erprm.data.labels`).
            eta: entropy regularization of ``er`` labels: a number, ``inf``, ``-inf``, ``soft`` or ``hard``.
            estimate: of ``er`` and ``soft`` labels: ``plug_in``, from the completions of the step alone, or
                ``posterior``, the posterior mean under a Beta prior fitted to all steps of the file, which needs
                rewards of 0 or 1.
            max_tokens: tokens of a batch: the batch size.
            packing: ``trees`` lays what the solutions of a problem have in common (its question, and steps they begin
                with) out once, for the same loss in less time; ``rows`` lays out every solution whole.
            row_tokens: tokens of one of its rows; by default a batch is one row (see :mod:`erprm.data.packing`).
            max_length: most tokens of one solution; steps that do not fit are dropped from its end and counted.
            max_unlabelled_share: the largest share of the solutions that may be left without a label because
                ``max_length`` cuts it off; above it the data is refused.
            num_workers: data-loading processes.
            cache_dir: where tokenised data is kept; by default ``$ERPRM_CACHE`` or ``~/.cache/erprm``.
            seed: of the validation split and the shuffles.
            allow_change: resume even if the checkpoint was trained on other data, labels, tokenizer or step format.
            step_encoder: tokenisation, where the module being trained has no ``step_encoder``.

        Raises:
            ValueError: if a setting is out of range; the message names it.
        """
        super().__init__()
        try:
            family_eta = label_eta(labels, eta)
        except ValueError as error:
            raise ValueError(f"data: {error}") from error
        self.eta = read_eta(eta)
        if labels != "er" and self.eta not in (_DEFAULT_ETA, family_eta):
            rank_zero_warn(f"data.eta is {eta}, which labels={labels!r} does not read; it is for labels='er'")
        if estimate not in get_args(Estimate):
            raise ValueError(f"data.estimate is {estimate!r}; it must be one of {', '.join(get_args(Estimate))}")
        if estimate == "posterior" and (labels not in ("er", "soft") or math.isinf(family_eta)):
            raise ValueError(
                f"data.estimate is 'posterior', which is for labels='er' at a finite eta and for labels='soft'; it "
                f"is labels={labels!r} at eta={family_eta:g}"
            )
        check_token_limits(max_length, row_tokens, max_tokens)
        if not 0.0 <= max_unlabelled_share <= 1.0:
            raise ValueError(f"data.max_unlabelled_share is {max_unlabelled_share}; it must be in [0, 1]")
        if packing not in PACKINGS:
            raise ValueError(f"data.packing is {packing!r}; it must be one of {', '.join(PACKINGS)}")
        if validation_rollouts is None and not 0.0 < validation_fraction < 1.0:
            raise ValueError(f"data.validation_fraction is {validation_fraction}; it must be in (0, 1)")
        check_step_style(predict_step_style, "data.predict_step_style")
        self.rollouts = rollouts
        self.validation_rollouts = validation_rollouts
        self.validation_fraction = validation_fraction
        self.test_rollouts = test_rollouts
        self.predict_solutions = predict_solutions
        self.predict_step_style = predict_step_style
        self.label_method: LabelMethod = labels
        self.estimate: Estimate = estimate
        self.max_tokens = max_tokens
        self.packing: Packing = packing
        self.row_tokens = row_tokens
        self.max_length = max_length
        self.max_unlabelled_share = max_unlabelled_share
        self.num_workers = num_workers
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.seed = seed
        self.allow_change = allow_change
        self._fingerprints: dict[str, str] = {}
        self._step_encoder = step_encoder
        self.train_set: PackedSteps
        self.validation_set: PackedSteps
        self.test_set: PackedSteps
        self.predict_set: list[list[SolutionRow]]

    @property
    def step_encoder(self) -> StepEncoder:
        """The tokenisation: the one given, else that of the module being trained.

        Raises:
            RuntimeError: if there is neither.
        """
        if self._step_encoder is not None:
            return self._step_encoder
        module = self.trainer.lightning_module if self.trainer is not None else None
        encoder = getattr(module, "step_encoder", None)
        if not isinstance(encoder, StepEncoder):
            raise FailedRunError(
                f"{type(self).__name__} needs a tokenisation: give step_encoder=StepFormat(...).bind(tokenizer), or "
                f"train a module that has a step_encoder (found {type(module).__name__})"
            )
        return encoder

    @step_encoder.setter
    def step_encoder(self, encoder: StepEncoder) -> None:
        self._step_encoder = encoder

    def records(self, source: str) -> Iterable[RolloutRecord]:
        """Records of one source; override to read another layout. What an override gives is checked afterwards."""
        return read_records(source)

    def load(self, source: str) -> TokenizedRollouts:
        """Tokenised solutions of one source, from the cache where it has them."""
        self._fingerprints[source] = self._fingerprint(source)
        return TokenizedRollouts.open_or_build(
            lambda: self._checked_records(source),
            self._fingerprints[source],
            self.step_encoder,
            self.max_length,
            self.cache_dir,
            name=source,
        )

    @property
    def _reads_files(self) -> bool:
        return type(self).records is ProcessRewardDataModule.records

    def _checked_records(self, source: str) -> Iterable[RolloutRecord]:
        if self._reads_files:
            return self.records(source)
        # What a subclass has made has not been checked on its way from a file.
        numbered = enumerate(self.records(source))
        return (validate_record(vars(record), where=f"{source}, record {number}") for number, record in numbered)

    def _fingerprint(self, source: str) -> str:
        if self._reads_files:
            return records_fingerprint(source)
        # What an overridden reader makes of a file may change while the file does not.
        return content_fingerprint(self.records(source))

    def identity(self) -> dict[str, Any]:
        """Everything that determines the batches of ``fit``, the records by a hash."""
        step_format = self.step_encoder.step_format.to_dict()
        return {
            **self._records_identity(),
            "data.labels": self.label_method,
            "data.eta": self.eta if self.label_method == "er" else None,
            "data.estimate": self.estimate,
            **{f"data.{name}": getattr(self, name) for name in _BATCH_SETTINGS},
            "hash of the tokenizer": tokenizer_fingerprint(self.step_encoder.tokenizer)[:16],
            **{f"step_format.{name}": value for name, value in step_format.items()},
        }

    def _records_identity(self) -> dict[str, Any]:
        train, *validation = (self._fingerprints[source][:16] for source in self._sources("fit"))
        return {
            "hash of data.rollouts": train,
            "hash of data.validation_rollouts": validation[0] if validation else None,
            "data.validation_fraction": None if validation else self.validation_fraction,
        }

    def prepare_data(self) -> None:
        """Builds the tokenised caches of the stage, on one process a machine, so that the others find them."""
        stage = self.trainer.state.fn if self.trainer is not None else TrainerFn.FITTING
        for source in self._sources(stage):
            self.load(source)

    def _sources(self, stage: str | None) -> list[str]:
        """The sources that a stage reads."""
        if stage == "test":
            return [] if self._callbacks_bring_test_data else [_required("test_rollouts", self.test_rollouts)]
        if stage == "validate" and self.validation_rollouts is not None:
            return [self.validation_rollouts]
        if stage in ("fit", "validate"):
            rollouts = _required("rollouts", self.rollouts)
            return [rollouts] if self.validation_rollouts is None else [rollouts, self.validation_rollouts]
        return []

    @property
    def _callbacks_bring_test_data(self) -> bool:
        """True if there are no records to test on, but there are callbacks that need none."""
        callbacks = self.trainer.callbacks if self.trainer is not None else []  # type: ignore[attr-defined]
        return self.test_rollouts is None and any(getattr(each, "brings_test_data", False) for each in callbacks)

    def setup(self, stage: str) -> None:
        """Opens the caches of the stage and computes the labels.

        Raises:
            ValueError: if a setting that the stage needs is missing, or a part of the data has no labelled step.
        """
        super().setup(stage)
        if stage == "predict":
            path = _required("predict_solutions", self.predict_solutions)
            rows = read_solutions(path, self.predict_step_style)
            starts = range(0, len(rows), _SCORED_TOGETHER)
            self.predict_set = [rows[start : start + _SCORED_TOGETHER] for start in starts]
            return
        loaded = []
        for source in self._sources(stage):
            loaded.append(self.load(source))
            self._tell_losses(source, loaded[-1])
        if stage == "test":
            if loaded:
                self.test_set = self._labelled(loaded[0], "testing")
        elif self.validation_rollouts is None:
            self.train_set, self.validation_set = self._split(loaded[0])
        else:
            self.validation_set = self._labelled(loaded[-1], "validation")
            if stage == "fit":
                self.train_set = self._labelled(loaded[0], "training")
        if stage == "fit":
            self._tell_equal_labels(self.train_set)

    def _tell_losses(self, source: str, rollouts: TokenizedRollouts) -> None:
        counts = rollouts.counts
        if counts.dropped_steps:
            total = counts.solutions + counts.dropped_solutions
            unlabelled = total - int(self._has_label(rollouts, self._labels(rollouts)).sum())
            found = (
                f"{source}: data.max_length={self.max_length} cuts off {counts.dropped_steps} step(s); {unlabelled} of "
                f"{total} solution(s) are left without a label (data.labels={self.label_method!r})"
            )
            if unlabelled > self.max_unlabelled_share * total:
                raise ValueError(
                    f"{found}, more than data.max_unlabelled_share={self.max_unlabelled_share} allows; raise "
                    "data.max_length, or the share"
                )
            rank_zero_warn(found)
        if counts.removed_tags:
            rank_zero_warn(
                f"{source}: {counts.removed_tags} step tag(s) stood within a text and were left out; choose another "
                "step_format.tag if the texts need it"
            )

    @staticmethod
    def _tell_equal_labels(train_set: PackedSteps) -> None:
        counts = np.bincount(np.rint(train_set.step_labels / (2 * _EQUAL_WITHIN)).astype(np.int64))
        if counts.max() >= _EQUAL_SHARE * counts.sum():
            rank_zero_warn(
                f"data: {counts.max()} of {counts.sum()} training labels are {2 * _EQUAL_WITHIN * counts.argmax():.2f} "
                f"to within {_EQUAL_WITHIN}: a model that gives every step this score has nearly the lowest loss, so "
                "there is little to learn. Roll out problems that the policy solves sometimes but not always; `erprm "
                "data stats` shows what the labels of rollouts can teach"
            )

    def _labels(self, rollouts: TokenizedRollouts) -> npt.NDArray[np.float32]:
        return rollouts.labels(self.label_method, self.eta, self.estimate)

    def _split(self, rollouts: TokenizedRollouts) -> tuple[PackedSteps, PackedSteps]:
        held_out = validation_problems(list(rollouts.problem_ids), self.validation_fraction, self.seed)
        is_held_out = held_out[rollouts.problem]
        train_set = self._labelled(rollouts, "training", ~is_held_out)
        return train_set, self._labelled(rollouts, "validation", is_held_out)

    def _labelled(
        self, rollouts: TokenizedRollouts, purpose: str, chosen: npt.NDArray[np.bool_] | None = None
    ) -> PackedSteps:
        labels = self._labels(rollouts)
        has_label = self._has_label(rollouts, labels)
        members = np.flatnonzero(has_label if chosen is None else has_label & chosen)
        if not len(members):
            raise ValueError(
                f"data: no labelled solution is left for {purpose} (labels={self.label_method!r}, "
                f"max_length={self.max_length}, validation_fraction={self.validation_fraction})"
            )
        return PackedSteps(rollouts, labels, members, self.row_tokens, self.packing, self._counts(rollouts, labels))

    def _counts(self, rollouts: TokenizedRollouts, labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        module = self.trainer.lightning_module if self.trainer is not None else None
        counted_for: CountedFor | None = getattr(module, "counted_for", None)
        if counted_for is None:
            return None
        try:
            return rollouts.step_counts(~np.isnan(labels), counted_for)
        except ValueError as error:
            raise ValueError(f"{counted_for} needs counts of completions: {error}") from error

    @staticmethod
    def _has_label(rollouts: TokenizedRollouts, labels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Marks solutions that have a labelled step: truncation may have cut the only one of an outcome label."""
        has_label: npt.NDArray[np.bool_] = np.add.reduceat(~np.isnan(labels), rollouts.tag_offsets[:-1]) > 0
        return has_label

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves the tensors of a packed batch; solutions to score are text and stay where they are."""
        return (
            super().transfer_batch_to_device(batch, device, dataloader_idx) if isinstance(batch, StepBatch) else batch
        )

    def train_dataloader(self) -> DataLoader[StepBatch]:
        """Packed batches, reshuffled each epoch."""
        return self._loader(self.train_set, shuffle=True)

    def val_dataloader(self) -> DataLoader[StepBatch]:
        """Packed batches in a fixed order."""
        return self._loader(self.validation_set, shuffle=False)

    def test_dataloader(self) -> DataLoader[StepBatch] | DataLoader[None]:
        """Packed batches in a fixed order; without records, one batch that is None, so that callbacks still run."""
        if self._callbacks_bring_test_data:
            return DataLoader([None], batch_size=None)  # type: ignore[arg-type]
        return self._loader(self.test_set, shuffle=False)

    def predict_dataloader(self) -> DataLoader[list[SolutionRow]]:
        """Solutions to score, in the order of their file."""
        return DataLoader(self.predict_set, batch_size=None)  # type: ignore[arg-type]  # a list is a data set, too

    def _loader(self, dataset: PackedSteps, *, shuffle: bool) -> DataLoader[StepBatch]:
        return self.packed_loader(dataset, dataset.lengths, groups=dataset.groups, shuffle=shuffle)


def _required(name: str, value: str | None) -> str:
    if value is None:
        raise ValueError(f"data.{name} is not set; it must name a file, a folder or a hub data set")
    return value
