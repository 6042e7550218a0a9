"""Step labels from raw completion rewards: the entropy-regularized reward and the baselines it is compared with.

=========  ==========================================================================================
method     label of a step
=========  ==========================================================================================
er         entropy-regularized reward at ``eta`` (arXiv 2412.11006, eq. 2)
soft       mean of the completion rewards: ``er`` at eta = 0 (Math-Shepherd's soft estimation)
hard       max of the completion rewards: ``er`` at eta = +inf (Math-Shepherd's hard estimation)
outcome    none, except the last step's: its graded outcome (an outcome reward model)
=========  ==========================================================================================

``er`` and ``soft`` labels are estimated from the completions of the step alone (``plug_in``), or by the posterior mean
under a prior fitted to all steps of a file (``posterior``; see :mod:`erprm.rewards.beliefs`).

A step whose prefix was not completed has no rewards. Bisection leaves such steps between those it asks about: the
``hard`` label of each is that of the next step that has rewards, and it has no other label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from erprm.eta import Eta, read_eta
from erprm.rewards import BetaPrior, entropy_regularized_reward, posterior_reward

__all__ = ["Estimate", "LabelMethod", "PartialRewardError", "solution_labels", "step_labels"]

LabelMethod = Literal["er", "soft", "hard", "outcome"]
Estimate = Literal["plug_in", "posterior"]


def label_eta(method: str, eta: object) -> float:
    """The eta of the reward family that a label method stands for; ``outcome`` reads single rewards, so any would do.

    Raises:
        ValueError: if the method is unknown, or ``eta`` is not one, whether the method uses it or not.
    """
    if method not in get_args(LabelMethod):
        raise ValueError(f"label method {method!r} is unknown; known are {', '.join(get_args(LabelMethod))}")
    try:
        value = read_eta(eta)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return {"er": value, "soft": 0.0, "hard": math.inf, "outcome": 0.0}[method]


def step_labels(rewards: Sequence[Sequence[float]], method: LabelMethod, eta: Eta = 1.0) -> list[float]:
    """Labels of the steps of one solution.

    Args:
        rewards: completion rewards of each step, in [0, 1]; the last step's list holds the graded outcome.
        method: see the module's table.
        eta: entropy regularization of ``er``.

    Returns:
        One label in [0, 1] a step; NaN where the method gives the step no label.

    >>> step_labels([[1.0, 0.0, 0.0, 0.0], [1.0]], "soft")
    [0.25, 1.0]
    """
    return [float(label) for label in solution_labels([rewards], method, eta)[0]]


def solution_labels(
    rewards: Sequence[Sequence[Sequence[float]]], method: LabelMethod, eta: Eta = 1.0
) -> list[npt.NDArray[np.float32]]:
    """Labels of the steps of many solutions; see :func:`step_labels`.

    Args:
        rewards: for each solution, the completion rewards of each step.
        method: see the module's table.
        eta: entropy regularization of ``er``.

    Returns:
        For each solution one label a step.
    """
    values, offsets, is_last = flattened_rewards(rewards)
    labels = flat_step_labels(values, offsets, is_last, method, eta)
    ends = np.cumsum([0, *map(len, rewards)]).tolist()
    return [labels[start:end] for start, end in pairwise(ends)]


def flattened_rewards(
    rewards: Sequence[Sequence[Sequence[float]]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The completion rewards of many solutions in the form that :func:`flat_step_labels` takes.

    Args:
        rewards: for each solution, the completion rewards of each step.

    Returns:
        All rewards, their offsets ``[S + 1]``, and whether a step is the last of its solution ``[S]``.
    """
    steps = list(chain.from_iterable(rewards))
    values = np.array(list(chain.from_iterable(steps)), dtype=np.float32)
    is_last = np.zeros(len(steps), dtype=bool)
    ends = np.cumsum([len(solution) for solution in rewards], dtype=np.int64)
    is_last[ends[ends > 0] - 1] = True
    return values, np.cumsum([0, *map(len, steps)], dtype=np.int64), is_last


def flat_step_labels(
    rewards: npt.NDArray[np.float32],
    reward_offsets_S1: npt.NDArray[np.int64],
    is_last_S: npt.NDArray[np.bool_],
    method: LabelMethod,
    eta: Eta,
    prior: BetaPrior | None = None,
) -> npt.NDArray[np.float32]:
    """Labels of many steps at once.

    Args:
        rewards: all completion rewards, step after step.
        reward_offsets_S1: step s holds ``rewards[offsets[s] : offsets[s + 1]]``; the last of all holds some.
        is_last_S: whether a step is the last of its solution.
        method: see the module's table.
        eta: entropy regularization of ``er``.
        prior: of success rates, for the posterior mean instead of the plug-in estimate; last steps have none, since
            their one outcome is known.

    Returns:
        Labels ``[S]``; NaN where the method gives no label.

    Raises:
        PartialRewardError: if there is a prior, and a reward is neither 0 nor 1.
    """
    family_eta = label_eta(method, eta)
    counts_S = np.diff(reward_offsets_S1)
    labels_S = np.empty(len(counts_S), dtype=np.float32)
    for count in np.unique(counts_S):
        steps = np.flatnonzero(counts_S == count)
        rewards_GK = rewards[reward_offsets_S1[steps][:, None] + np.arange(count)]
        if count:
            labels_S[steps] = entropy_regularized_reward(torch.from_numpy(rewards_GK), family_eta).numpy()
        else:
            labels_S[steps] = np.nan
    if prior is not None:
        is_sampled_S = ~is_last_S & (counts_S > 0)
        successes, trials = completion_counts(rewards, reward_offsets_S1, is_last_S)
        labels_S[is_sampled_S] = posterior_reward(successes, trials, family_eta, prior).numpy()
    if family_eta == math.inf:
        has_rewards = np.where(counts_S > 0, np.arange(len(counts_S)), len(counts_S))
        labels_S = labels_S[np.minimum.accumulate(has_rewards[::-1])[::-1]]
    if method == "outcome":
        labels_S[~is_last_S] = np.nan
    return labels_S


class PartialRewardError(ValueError):
    """A completion is neither right nor wrong where right ones are counted.

    Attributes:
        step: the one it belongs to, from 0.
    """

    def __init__(self, step: int, reward: float, instead: str) -> None:
        self.step = step
        super().__init__(
            f"a completion has the reward {reward:g}; right completions are counted, so it must be 0 or 1, or take "
            f"{instead}"
        )


def completion_counts(
    rewards: npt.NDArray[np.float32], reward_offsets_S1: npt.NDArray[np.int64], is_last_S: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Right completions, and completions, of the steps that have any, last steps left out.

    Args:
        rewards: all completion rewards, step after step.
        reward_offsets_S1: as in :func:`flat_step_labels`.
        is_last_S: whether a step is the last of its solution.

    Raises:
        PartialRewardError: if one of these rewards is neither 0 nor 1.
    """
    is_sampled_S = ~is_last_S & (np.diff(reward_offsets_S1) > 0)
    refuse_partial_rewards(rewards, reward_offsets_S1, is_sampled_S, "data.estimate=plug_in")
    sums_S, trials_S = reward_sums(rewards, reward_offsets_S1)
    return sums_S[is_sampled_S].astype(np.int32), trials_S[is_sampled_S].astype(np.int32)


def reward_sums(
    rewards: npt.NDArray[np.float32], reward_offsets_S1: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The sum of the completion rewards of each step ``[S]``, and how many they are ``[S]``.

    Args:
        rewards: all completion rewards, step after step.
        reward_offsets_S1: as in :func:`flat_step_labels`.
    """
    sums = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
    return np.diff(sums[reward_offsets_S1]), np.diff(reward_offsets_S1)


def refuse_partial_rewards(
    rewards: npt.NDArray[np.float32],
    reward_offsets_S1: npt.NDArray[np.int64],
    is_counted_S: npt.NDArray[np.bool_],
    instead: str,
) -> None:
    """Refuses rewards that are neither 0 nor 1 at the steps whose right completions are counted.

    Args:
        rewards: all completion rewards, step after step.
        reward_offsets_S1: as in :func:`flat_step_labels`.
        is_counted_S: those steps ``[S]``.
        instead: the setting under which nothing is counted, for the message.

    Raises:
        PartialRewardError: at the first such reward.
    """
    steps = np.repeat(np.arange(len(is_counted_S)), np.diff(reward_offsets_S1))
    partial = is_counted_S[steps] & (rewards != 0) & (rewards != 1)
    if partial.any():
        raise PartialRewardError(int(steps[partial][0]), float(rewards[partial][0]), instead)
