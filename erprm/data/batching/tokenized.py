"""Rollout records as token ids on disk, memory-mapped: built once, keyed by everything that determines it.

The folder holds flat arrays (``tokens``, ``tags``, ``rewards``) with offsets into them, so opening it costs no memory
and reading a solution is a slice. Rewards are kept raw: another ``eta`` reads the same folder.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from erprm.data.batching.tries import trie_order
from erprm.data.labels import (
    Estimate,
    LabelMethod,
    PartialRewardError,
    completion_counts,
    flat_step_labels,
    refuse_partial_rewards,
    reward_sums,
)
from erprm.rewards import BetaPrior, fit_beta_prior
from erprm.runs.atomic import hidden_beside, hidden_name, remove, write_json
from erprm.runs.identity import content_hash, tokenizer_fingerprint
from erprm.steps import Solution, StepEncoder

if TYPE_CHECKING:
    from erprm.data.records import RolloutRecord

CountedFor = Literal["model.loss", "model.weighting"]
"""A setting of a module that reads how many completions a step has; ``model.loss`` also, how many of them are right."""
_WITHOUT_COUNTS: dict[CountedFor, str] = {"model.loss": "two_way", "model.weighting": "steps"}

FORMAT_VERSION = 4
_ARRAYS: dict[str, type[np.generic]] = {
    "tokens": np.int32,  # tokens of all solutions
    "token_offsets": np.int64,  # [solutions + 1] into tokens
    "tags": np.int32,  # position of each kept step's tag within its solution
    "tag_offsets": np.int64,  # [solutions + 1] into tags and steps
    "rewards": np.float32,  # completion rewards of all kept steps
    "reward_offsets": np.int64,  # [steps + 1] into rewards
    "is_last": np.bool_,  # [steps] whether a kept step is the last of its record
    "problem": np.int64,  # [solutions] number of the problem, into problem_ids
    "problem_text": np.uint8,  # problem_ids one after another, in UTF-8
    "problem_text_offsets": np.int64,  # [problems + 1] into problem_text
    "row": np.int64,  # [solutions] row of the record in its source
    "trie_order": np.int64,  # the solutions, problem after problem, each problem's in trie order (see data.tries)
    "shared": np.int32,  # [solutions] leading tokens that each of trie_order shares with the one before it
}
_BATCH = 1024
_STEPS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class EncodingCounts:
    """Counts of records kept, cut or left out when they were laid out as tokens.

    Attributes:
        solutions: solutions kept.
        dropped_steps: steps cut, those of solutions left out included.
        dropped_solutions: solutions left out, since not even their first step fits.
        removed_tags: step tags that stood within a text and were left out.
    """

    solutions: int = 0
    dropped_steps: int = 0
    dropped_solutions: int = 0
    removed_tags: int = 0


def cache_key(records_fingerprint: str, encoder: StepEncoder, max_length: int) -> str:
    """Name of the cache folder of one data set under one tokenisation.

    Args:
        records_fingerprint: hash of the records, or of what they are read from.
        encoder: step format and tokenizer.
        max_length: most tokens of one solution.
    """
    determined_by = {
        "format": FORMAT_VERSION,
        "records": records_fingerprint,
        "tokenizer": tokenizer_fingerprint(encoder.tokenizer),
        "step_format": encoder.step_format.to_dict(),
        "max_length": max_length,
    }
    return content_hash(determined_by)[:24]


class TokenizedRollouts:
    """The tokenised solutions of one source, memory-mapped.

    Attributes:
        problem_ids: the problems, in the order of the numbers in ``problem``.
        counts: what was kept and what was cut.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.counts = EncodingCounts(**meta["counts"])
        arrays = {array: _memory_map(folder / f"{array}.bin", dtype) for array, dtype in _ARRAYS.items()}
        self.tokens, self.token_offsets = arrays["tokens"], arrays["token_offsets"]
        self.tags, self.tag_offsets = arrays["tags"], arrays["tag_offsets"]
        self.rewards, self.reward_offsets = arrays["rewards"], arrays["reward_offsets"]
        self.is_last, self.problem, self.row = arrays["is_last"], arrays["problem"], arrays["row"]
        self.trie_order, self.shared = arrays["trie_order"], arrays["shared"]
        self.problem_ids = TextColumn(arrays["problem_text"], arrays["problem_text_offsets"])

    def __reduce__(self) -> tuple[type[TokenizedRollouts], tuple[Path]]:
        # A data-loading process that is started anew maps the same files instead of being sent their content.
        return type(self), (self.folder,)

    @classmethod
    def open_or_build(
        cls,
        records: Callable[[], Iterable[RolloutRecord]],
        fingerprint: str,
        encoder: StepEncoder,
        max_length: int,
        cache_dir: Path,
        name: str = "records",
    ) -> TokenizedRollouts:
        """Opens the cache of some records, after building it if it does not exist.

        Args:
            records: gives the records; called only to build.
            fingerprint: hash that changes when the records do.
            encoder: step format and tokenizer.
            max_length: most tokens of one solution.
            cache_dir: where caches are kept, each in a folder of its own.
            name: what the records are called in messages.

        Raises:
            RecordError: at the first malformed record.
            ValueError: if no solution is left.
        """
        folder = cache_dir / cache_key(fingerprint, encoder, max_length)
        if not (folder / "meta.json").exists():
            _build(records(), encoder, max_length, folder)
        rollouts = cls(folder)
        counts = rollouts.counts
        if not counts.solutions:
            raise ValueError(
                f"{name}: none of {counts.dropped_solutions} record(s) fits max_length={max_length}"
                if counts.dropped_solutions
                else f"{name}: holds no record"
            )
        return rollouts

    def __len__(self) -> int:
        return len(self.row)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each solution."""
        return np.diff(self.token_offsets)

    def labels(self, method: LabelMethod, eta: float, estimate: Estimate = "plug_in") -> npt.NDArray[np.float32]:
        """Label of every kept step; NaN where the method is ``outcome`` and gives none.

        Args:
            method: see :mod:`erprm.data.labels`.
            eta: entropy regularization of ``er``.
            estimate: ``posterior`` fits one prior to all steps here.

        Raises:
            ValueError: naming the first of them, if another method has no label for a step (see
                :mod:`erprm.data.labels`); or if no prior can be fitted.
        """
        try:
            prior = self._prior() if estimate == "posterior" else None
        except ValueError as error:
            raise ValueError(f"estimate='posterior' of {len(self)} solution(s): {error}") from error
        labels_S = np.empty(len(self.is_last), dtype=np.float32)
        for start, stop in self._parts():
            labels_S[start:stop] = flat_step_labels(*self._rewards_of(start, stop), method, eta, prior)
        if method != "outcome" and np.isnan(labels_S).any():
            raise ValueError(
                f"labels is {method!r}: {self._place(int(np.isnan(labels_S).argmax()))} has no completion rewards; "
                "records made by bisection allow only hard or outcome"
            )
        return labels_S

    def step_counts(self, is_labelled_S: npt.NDArray[np.bool_], counted_for: CountedFor) -> npt.NDArray[np.float32]:
        """Sum of the completion rewards, and number of completions, of every kept step ``[S, 2]``.

        Args:
            is_labelled_S: the steps of which they are needed ``[S]``.
            counted_for: the setting that needs them; for ``model.loss`` rewards must be 0 or 1.

        Raises:
            ValueError: naming the first of them, if a step has no completions, or a reward that cannot be counted; or
                if no step has more than one completion.
        """
        instead = f"{counted_for}={_WITHOUT_COUNTS[counted_for]}"
        counts_S2 = np.empty((len(self.is_last), 2), dtype=np.float32)
        for start, stop in self._parts():
            rewards, offsets_S1, _ = self._rewards_of(start, stop)
            if counted_for == "model.loss":
                with self._naming_place(start):
                    refuse_partial_rewards(rewards, offsets_S1, is_labelled_S[start:stop], instead)
            counts_S2[start:stop] = np.stack(reward_sums(rewards, offsets_S1), axis=1)
        trials_S = counts_S2[:, 1]
        if (lacking_S := is_labelled_S & (trials_S == 0)).any():
            raise ValueError(
                f"{self._place(int(lacking_S.argmax()))} has a label but no completions, as steps in records made by "
                f"bisection do; take {instead}"
            )
        if not (trials_S[is_labelled_S] > 1).any():
            raise ValueError(
                "no labelled step has more than one completion, so the counts say nothing, as with labels that were "
                f"imported or with outcomes alone; take {instead}"
            )
        return counts_S2

    def _prior(self) -> BetaPrior:
        counts = []
        for start, stop in self._parts():
            with self._naming_place(start):
                counts.append(completion_counts(*self._rewards_of(start, stop)))
        successes, trials = (np.concatenate(part) for part in zip(*counts, strict=True))
        return fit_beta_prior(successes, trials)

    @contextmanager
    def _naming_place(self, first: int) -> Iterator[None]:
        """Adds the place to an error about a step of a part that begins with this one."""
        try:
            yield
        except PartialRewardError as error:
            raise ValueError(f"{self._place(first + error.step)} {error}") from error

    def _place(self, step: int) -> str:
        """The solution and the step, from 0, for messages."""
        solution = int(np.searchsorted(self.tag_offsets, step, side="right")) - 1
        name, row = self.problem_ids[self.problem[solution]], self.row[solution]
        return f"{name!r} (row {row}), step {step - self.tag_offsets[solution]},"

    def _parts(self) -> Iterator[tuple[int, int]]:
        """All steps in parts, to limit the memory needed at a time."""
        start = 0
        while start < len(self.is_last):
            stop = min(start + _STEPS_AT_ONCE, len(self.is_last))
            # A step without rewards takes its label from what comes after it.
            while self.reward_offsets[stop] == self.reward_offsets[stop - 1]:
                stop += 1
            yield start, stop
            start = stop

    def _rewards_of(
        self, start: int, stop: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        offsets_S1 = self.reward_offsets[start : stop + 1]
        rewards = self.rewards[offsets_S1[0] : offsets_S1[-1]]
        return rewards, offsets_S1 - offsets_S1[0], self.is_last[start:stop]


class TextColumn:
    """Texts of a memory-mapped file, each decoded when it is asked for."""

    def __init__(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        """Takes the texts one after another in UTF-8, and where each begins (and the last ends)."""
        self._text = text
        self._offsets = offsets

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self._offsets) - 1))

    def __getitem__(self, number: int) -> str:
        return self._text[self._offsets[number] : self._offsets[number + 1]].tobytes().decode()


def _memory_map(path: Path, dtype: type[np.generic]) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    # As a plain array: slices of the class memmap, of which a batch takes hundreds, are slow to make.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _build(records: Iterable[RolloutRecord], encoder: StepEncoder, max_length: int, folder: Path) -> None:
    temporary = hidden_name(folder)
    temporary.mkdir(parents=True)
    _remove_abandoned(folder.parent)
    try:
        with ExitStack() as stack:
            files = {array: stack.enter_context((temporary / f"{array}.bin").open("wb")) for array in _ARRAYS}
            meta = _write_arrays(records, encoder, max_length, files)
        _write_trie_order(temporary)
        write_json(meta, temporary / "meta.json")
        try:
            temporary.rename(folder)
        except OSError:
            # Another process finished the same folder first; its content is the same.
            if not (folder / "meta.json").exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(caches: Path) -> None:
    """Removes what killed processes left. Others may be building, so only what nobody has written to for an hour."""
    for unfinished in hidden_beside(caches):
        with suppress(OSError):  # another process gives it its name, or removes it, at the same time
            if time.time() - max(path.stat().st_mtime for path in (unfinished, *unfinished.iterdir())) > 3600:
                remove(unfinished)


def _write_trie_order(folder: Path) -> None:
    """Adds what the solutions of each problem share to the arrays of a folder."""
    tokens, offsets, problem = (
        _memory_map(folder / f"{array}.bin", _ARRAYS[array]) for array in ("tokens", "token_offsets", "problem")
    )
    order = np.argsort(problem, kind="stable")
    shared = np.zeros(len(order), dtype=_ARRAYS["shared"])
    bounds = np.flatnonzero(np.diff(problem[order], prepend=-1, append=-1))
    sizes = np.diff(bounds)
    for start, size in zip(bounds[:-1][sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        members = order[start : start + size]
        by_tokens, shared[start : start + size] = trie_order([tokens[offsets[i] : offsets[i + 1]] for i in members])
        order[start : start + size] = members[by_tokens]
    order.astype(_ARRAYS["trie_order"]).tofile(folder / "trie_order.bin")
    shared.tofile(folder / "shared.bin")


def _write_arrays(
    records: Iterable[RolloutRecord],
    encoder: StepEncoder,
    max_length: int,
    files: Mapping[str, BinaryIO],
) -> dict[str, Any]:
    problem_numbers: dict[str, int] = {}
    dropped_steps = dropped_solutions = removed_tags = row = 0
    ends = {"token_offsets": 0, "tag_offsets": 0, "reward_offsets": 0, "problem_text_offsets": 0}
    columns: dict[str, list[Any]] = {array: [0] if array in ends else [] for array in _ARRAYS}

    def extend(values_name: str, offsets_name: str, values: Sequence[Any]) -> None:
        columns[values_name] += values
        ends[offsets_name] += len(values)
        columns[offsets_name].append(ends[offsets_name])

    solutions = 0
    remaining = iter(records)
    while batch := list(islice(remaining, _BATCH)):
        solutions_of_batch = [Solution(record.question, record.steps) for record in batch]
        for record, encoded in zip(batch, encoder.encode_batch(solutions_of_batch, max_length), strict=True):
            kept = len(encoded.tag_positions)
            dropped_steps += encoded.dropped_steps
            removed_tags += encoded.removed_tags
            if kept:
                solutions += 1
                extend("tokens", "token_offsets", encoded.input_ids)
                extend("tags", "tag_offsets", encoded.tag_positions)
                for step_rewards in record.rewards[: kept - 1]:
                    extend("rewards", "reward_offsets", step_rewards)
                # Bisection leaves steps without rewards; the next step that has some speaks for them, cut or not.
                extend("rewards", "reward_offsets", next(filter(None, record.rewards[kept - 1 :])))
                columns["is_last"] += [number == len(record.steps) for number in range(1, kept + 1)]
                if record.problem_id not in problem_numbers:
                    problem_numbers[record.problem_id] = len(problem_numbers)
                    extend("problem_text", "problem_text_offsets", record.problem_id.encode())
                columns["problem"].append(problem_numbers[record.problem_id])
                columns["row"].append(row)
            else:
                dropped_solutions += 1
            row += 1
        for array, values in columns.items():
            files[array].write(np.asarray(values, dtype=_ARRAYS[array]).tobytes())
            values.clear()
    counts = EncodingCounts(solutions, dropped_steps, dropped_solutions, removed_tags)
    return {"counts": asdict(counts)}
