"""TRL's GRPO with an advantage for each step instead of one for each completion (TRL 1.13).

The model's scores of the steps become returns (:func:`erprm.reward_fn.step_returns`), and these advantages: the returns
of all steps of a prompt's completions are shifted to mean 0 and scaled to standard deviation 1, as GRPO does with the
rewards of the completions. A token has the advantage of its step.

Shape suffixes: B completions of this process, T tokens of the longest of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
import trl
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer

from erprm.errors import UsageError
from erprm.reward_fn.credit import CreditForm, check_credit_form, step_returns
from erprm.reward_fn.process_reward import ProcessReward

__all__ = ["StepGRPOTrainer"]

TESTED_TRL = "1.13"
_EPSILON = 1e-4  # GRPOTrainer's own


def check_trl() -> None:
    """Refuses a TRL that is not a tested one.

    Raises:
        UsageError: naming both versions.
    """
    if not trl.__version__.startswith(f"{TESTED_TRL}."):
        raise UsageError(f"StepGRPOTrainer is tested with TRL {TESTED_TRL}.*, found {trl.__version__}")


def _no_outcome(completions: Sequence[Any], **_: Any) -> list[float]:
    return [0.0] * len(completions)


class StepGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO whose advantages come from a process reward model, step by step, alone or mixed with those of outcomes."""

    def __init__(
        self,
        model: Any,
        process_reward: ProcessReward,
        *,
        form: CreditForm = "min",
        process_weight: float = 1.0,
        outcome_weight: float = 1.0,
        reward_funcs: Any = None,
        **arguments: Any,
    ) -> None:
        """Checks what the step advantages need.

        Args:
            model: the policy, as ``GRPOTrainer`` takes it.
            process_reward: scores the steps.
            form: of the returns of steps: ``min``, ``sum`` or ``difference``.
            process_weight: of the advantages of steps; at 0, steps are not scored, and this is ``GRPOTrainer``.
            outcome_weight: of the advantages that ``GRPOTrainer`` computes from ``reward_funcs``.
            reward_funcs: rewards of whole completions, such as a check of the answer; without any, TRL logs a reward of
                0, and ``step_scores/lowest`` says how the completions are scored.
            arguments: the others of ``GRPOTrainer``.

        Raises:
            UsageError: if the installed TRL is not a tested one.
            ValueError: if there is no such form, a weight is negative or not finite, both are 0, or the settings of
                ``GRPOTrainer`` do not go with advantages of tokens.
        """
        check_trl()
        check_credit_form(form)
        if reward_funcs is None:
            reward_funcs, outcome_weight = _no_outcome, 0.0
        for name, weight in (("process_weight", process_weight), ("outcome_weight", outcome_weight)):
            if not 0.0 <= weight < float("inf"):
                raise ValueError(f"{name} is {weight}; it must be at least 0, and finite")
        if not process_weight + outcome_weight:
            raise ValueError("process_weight is 0, and no reward_funcs have a weight: nothing would be learned")
        for name in ("tools", "environment_factory", "rollout_func"):
            if arguments.get(name) is not None:
                raise ValueError(f"{name}: steps are those of a completion that the policy wrote at one go")
        if getattr(arguments.get("args"), "use_liger_kernel", False):
            raise ValueError("use_liger_kernel: Liger's GRPO loss takes one advantage a completion, not one a token")
        super().__init__(model, reward_funcs, **arguments)
        self.process_reward = process_reward
        self.form: CreditForm = form
        self.process_weight = process_weight
        self.outcome_weight = outcome_weight

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.process_weight:
            advantages_BT = self._step_advantages(inputs, output["completion_ids"], output["completion_mask"])
            output["advantages"] = (
                self.process_weight * advantages_BT + self.outcome_weight * output["advantages"][:, None]
            )
        return output

    def _step_advantages(self, inputs: Sequence[dict[str, Any]], ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        mode = "train" if self.model.training else "eval"
        metrics = self._metrics[mode]
        # Of a completion that TRL leaves out, since it was cut off, nothing is left in the mask.
        completion_ids = [ids_T[mask_T.bool()].tolist() for ids_T, mask_T in zip(ids_BT, mask_BT, strict=True)]
        columns: dict[str, Any] = {key: [row[key] for row in inputs] for key in inputs[0] if key != "prompt"}
        scored = self.process_reward.step_rewards(
            [row["prompt"] for row in inputs],
            self.processing_class.batch_decode(completion_ids, skip_special_tokens=True),
            tokenizer=self.processing_class,
            completion_ids=completion_ids,
            **columns,
        )
        scores = [
            (each.scores or [self.process_reward.empty_score]) if ids else []
            for ids, each in zip(completion_ids, scored, strict=True)
        ]
        everyone: list[list[float]] = gather_object(scores)
        returns = [step_returns(each, self.form) for each in everyone]
        normalized, flat_share = normalized_returns(
            returns,
            self.num_generations if mode == "train" else self.num_generations_eval,
            scale=self.scale_rewards != "none",
        )
        metrics["step_returns/frac_zero_std"].append(flat_share)
        if kept := [each for each in everyone if each]:
            metrics["step_scores/lowest"].append(statistics.fmean(map(min, kept)))

        first = self.accelerator.process_index * len(scores)
        advantages_BT = torch.zeros(ids_BT.shape, device=ids_BT.device)
        for row, each in enumerate(scored):
            if not scores[row]:
                continue
            of_step = torch.tensor(normalized[first + row], device=ids_BT.device)
            starts = torch.tensor([start for start, _ in (each.token_spans or [])[1:]], device=ids_BT.device)
            tokens_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
            # What stands between two steps belongs to the first, what ends the text to the last.
            advantages_BT[row] = of_step[torch.bucketize(tokens_T, starts, right=True)]
        return advantages_BT


def normalized_returns(
    returns: Sequence[Sequence[float]], group_size: int, scale: bool = True
) -> tuple[list[list[float]], float]:
    """Returns of steps, shifted to mean 0 and scaled to standard deviation 1 over all steps of a group.

    Args:
        returns: of the steps of each completion, group after group; a completion without any is left out.
        group_size: completions of a group.
        scale: whether to divide by the standard deviation (of the sample, plus 1e-4, as in TRL).

    Returns:
        The same in the same order, and the share of the groups whose returns are all equal: they teach nothing.

    >>> normalized_returns([[1.0, 3.0], [2.0]], 2, scale=False)
    ([[-1.0, 1.0], [0.0]], 0.0)
    """
    normalized, flat = [], 0
    for first in range(0, len(returns), group_size):
        group = returns[first : first + group_size]
        values = [value for completion in group for value in completion]
        mean = statistics.fmean(values) if values else 0.0
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        flat += len(set(values)) < 2
        unit = deviation + _EPSILON if scale else 1.0
        normalized += [[(value - mean) / unit for value in completion] for completion in group]
    return normalized, flat / (len(returns) / group_size)
