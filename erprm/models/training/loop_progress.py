"""Corrects the progress that Lightning stores in a checkpoint, so that training resumes exactly.

Lightning 2.6 counts a batch as ready, started, processed and completed, and finds out from the differences where a
checkpoint was saved. In some places what it makes of them is not where training stood:

- between two optimizer steps (gradient accumulation): the gradients so far are lost, their batches counted as done;
- within a batch (a checkpoint saved on an exception): the step that values are logged at moves on by one;
- before or during a validation that is due: it is left out;
- after the last batch of an epoch: the end of the epoch is left out, and the next resumption repeats the next epoch.

Here the first two become "just after the last optimizer step", the third "at the beginning of the validation", the last
"at the end of the epoch".
"""

from __future__ import annotations

from typing import Any

import lightning as L

from erprm.data.batching.resumption import unfinished_accumulation

_COUNTERS = ("ready", "started", "processed", "completed")


def make_progress_exact(trainer: L.Trainer, fit_loop_state: dict[str, Any]) -> None:
    """Rewrites the state of the fit loop in a checkpoint, where it has to be.

    Args:
        trainer: that is saving.
        fit_loop_state: ``checkpoint["loops"]["fit_loop"]``.
    """
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    state = fit_loop_state["epoch_loop.batch_progress"]
    unfinished = unfinished_accumulation(trainer)
    if unfinished or progress.current.processed < progress.current.ready:
        for counts in (state["total"], state["current"]):
            # As `ModelCheckpoint` leaves it when it saves after a batch: not yet completed.
            done = counts["processed"] - unfinished
            counts.update({**dict.fromkeys(_COUNTERS, done), "completed": done - 1})
        state["is_last_batch"] = False
        fit_loop_state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    elif _validation_is_due(trainer):
        _complete_batch(state)
        fit_loop_state["epoch_loop.val_loop.batch_progress"] = {
            # A started batch that is not processed: a validation that was interrupted.
            "total": {"ready": 1, "started": 1, "processed": 0, "completed": 0},
            "current": dict.fromkeys(_COUNTERS, 0),
            "is_last_batch": False,
        }
    elif _is_after_batch(progress) and progress.is_last_batch:
        _complete_batch(state)
        fit_loop_state["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def _complete_batch(state: dict[str, Any]) -> None:
    for counts in (state["total"], state["current"]):
        counts["completed"] = counts["processed"]


def _is_after_batch(progress: Any) -> bool:
    """True while the hooks after a batch run."""
    return bool(progress.current.completed < progress.current.processed)


def _validation_is_due(trainer: L.Trainer) -> bool:
    """True if a validation follows the batch just trained on, or is under way."""
    loop: Any = trainer.fit_loop.epoch_loop
    if trainer.validating:
        seen = loop.val_loop.batch_progress.current
        return bool(seen.completed < sum(loop.val_loop.max_batches))
    fetcher = trainer.fit_loop._data_fetcher
    return _is_after_batch(loop.batch_progress) and fetcher is not None and bool(loop._should_check_val_fx(fetcher))
