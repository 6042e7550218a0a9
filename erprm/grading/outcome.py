"""Outcome rewards for any task: the interface of graders, their lookup in a configuration, and rewards of batches."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from erprm.errors import InputError
from erprm.grading.extract import KINDS, Kind
from erprm.grading.grader import Grader

# What may stand under a configuration key: a kind of answer, the import path of a function, or a class with its
# arguments. A callable itself is for Python.
GradingSetting = str | dict[str, Any] | Callable[[str, str], float]


class OutcomeGrader(Protocol):
    """Anything that maps a prediction and a gold to an outcome reward in [0, 1].

    A function will do. `Grader` is one for mathematics; unit tests that a program passes, or a judge model, are
    others. `gold` is whatever the problem source stores as its answer: a reference text, test cases as JSON, a
    rubric.
    """

    def __call__(self, prediction: str, gold: str) -> float:
        """Returns the reward of `prediction`, in [0, 1]."""


@runtime_checkable
class BatchGrader(Protocol):
    """An outcome grader that is better asked for many pairs at once: a judge model, tests run side by side."""

    def grade_batch(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Returns one reward a (prediction, gold) pair, in order, each in [0, 1]."""


class GradingError(InputError):
    """A grader that cannot be had, raised, or returned no reward; the message opens with the configuration key."""


def check_grading(setting: GradingSetting, key: str) -> None:
    """Finds what `setting` names, without making it: a mistake shows before any model is loaded.

    Raises:
        GradingError: nothing can be imported from there, it cannot be called, or it does not take these arguments.
    """
    if isinstance(setting, str) and setting in KINDS:
        return
    target, arguments = _named(setting, key)
    if arguments is None:
        _check_arguments(target, ("prediction", "gold"), {}, f"{key}: {setting!r}")
    else:
        _check_arguments(target, (), arguments, f"{key}.init_args")


@contextmanager
def open_grader(setting: GradingSetting, key: str, **grader_arguments: Any) -> Iterator[OutcomeGrader | BatchGrader]:
    """Makes the grader that `setting` names, and closes it afterwards if it has a `close` method.

    Args:
        setting: `"gsm8k"`, `"math"` or `"auto"`; the import path of a function, such as `my_tasks.word_overlap`; a
            class with its arguments, `{"class_path": "my_tasks.UnitTests", "init_args": {...}}`; or a callable.
        key: the configuration key, for messages.
        **grader_arguments: arguments of the `Grader` made for a kind of answer.

    Raises:
        GradingError: there is no such thing, or it cannot be made.
    """
    grader = _make(setting, key, grader_arguments)
    try:
        yield grader
    finally:
        close = getattr(grader, "close", None)
        if callable(close):
            close()


def _make(setting: GradingSetting, key: str, grader_arguments: Mapping[str, Any]) -> OutcomeGrader | BatchGrader:
    if isinstance(setting, str) and setting in KINDS:
        return Grader(**grader_arguments)
    target, arguments = _named(setting, key)
    if arguments is None:
        return _as_grader(target)
    try:
        made = target(**arguments)
    except Exception as error:
        raise GradingError(f"{key}: {_name(target)} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(made) and not isinstance(made, BatchGrader):
        raise GradingError(f"{key}: {_name(target)} has neither __call__(prediction, gold) nor grade_batch(pairs)")
    return _as_grader(made)


def _as_grader(made: Any) -> OutcomeGrader | BatchGrader:
    grader: OutcomeGrader | BatchGrader = made
    return grader


def _named(setting: object, key: str) -> tuple[Any, dict[str, Any] | None]:
    """The object that a setting names, and the arguments of its class; None for one that is already a grader."""
    accepted = f"expected one of {', '.join(KINDS)}, the import path of a function, or class_path with init_args"
    if isinstance(setting, dict):
        unknown = set(setting) - {"class_path", "init_args"}
        arguments = setting.get("init_args") or {}
        if unknown or not isinstance(setting.get("class_path"), str) or not isinstance(arguments, dict):
            raise GradingError(f"{key}: got {setting!r}, {accepted}")
        return _import(setting["class_path"], f"{key}.class_path", accepted), arguments
    if isinstance(setting, str):
        target = _import(setting, key, accepted)
        return (target, {}) if inspect.isclass(target) else (target, None)
    if not callable(setting) and not isinstance(setting, BatchGrader):
        raise GradingError(f"{key}: got {setting!r}, {accepted}")
    return setting, None


def _import(path: str, key: str, accepted: str) -> Any:
    if "." not in path and ":" not in path:
        raise GradingError(f"{key}: got {path!r}, {accepted}")
    try:
        target = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        hint = " (commands look in the working folder, too)" if isinstance(error, ImportError) else ""
        raise GradingError(f"{key}: cannot import {path!r}: {error}{hint}; {accepted}") from error
    if not callable(target) and not isinstance(target, BatchGrader):
        raise GradingError(f"{key}: {path!r} is {target!r}, which cannot be called; {accepted}")
    return target


def _check_arguments(target: Any, positional: Sequence[str], named: Mapping[str, Any], what: str) -> None:
    if positional and not callable(target):
        return
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some built-ins have none
        return
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        wanted = "a function of (prediction, gold)" if positional else f"the arguments of {_name(target)}{signature}"
        raise GradingError(f"{what}: {error}; expected {wanted}") from error


def _name(target: Any) -> str:
    return getattr(target, "__qualname__", None) or repr(target)


def outcome_rewards(
    grader: OutcomeGrader | BatchGrader,
    pairs: Sequence[tuple[str, str]],
    kind: Kind = "auto",
    key: str = "grader",
    truncated: Sequence[bool] | None = None,
) -> list[float]:
    """Rewards of (prediction, gold) pairs, in order; what has `grade_batch` is asked for the whole batch at once.

    Args:
        grader: a `Grader`, or anything that maps a prediction and a gold to [0, 1].
        pairs: texts.
        kind: how a `Grader` reads the answers; other graders are given the texts as they are.
        key: the configuration key that named the grader; opens the messages.
        truncated: for each pair, whether the prediction was cut off at the limit of tokens; for a `Grader` such a text
            has an answer only where it states one in a closed form. Other graders judge the text as it is.

    Raises:
        GradingError: the grader raised, or returned something that is not a number in [0, 1].
    """
    if isinstance(grader, Grader):
        return [float(equal) for equal in grader.grade_batch(pairs, kind, truncated)]
    if isinstance(grader, BatchGrader):
        try:
            rewards = list(grader.grade_batch(pairs))
        except Exception as error:
            raise GradingError(f"{key}: {_name(grader)} raised {type(error).__name__}: {error}") from error
        if len(rewards) != len(pairs):
            raise GradingError(f"{key}: {_name(grader)} returned {len(rewards)} rewards for {len(pairs)} pairs")
    else:
        rewards = [_reward(grader, pair, f"{key}: {_name(grader)}") for pair in pairs]
    return [_checked(reward, pair, f"{key}: {_name(grader)}") for reward, pair in zip(rewards, pairs, strict=True)]


def _reward(grader: OutcomeGrader, pair: tuple[str, str], what: str) -> float:
    try:
        return grader(*pair)
    except Exception as error:
        raise GradingError(f"{what} raised {type(error).__name__}: {error}; {_shown(pair)}") from error


def _checked(reward: Any, pair: tuple[str, str], what: str) -> float:
    try:
        value = float(reward)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 <= value <= 1.0:  # also catches NaN
        raise GradingError(f"{what} returned {reward!r}, expected a number in [0, 1]; {_shown(pair)}")
    return value


def _shown(pair: tuple[str, str]) -> str:
    prediction, gold = (text if len(text) <= 80 else f"{text[:80]}..." for text in pair)
    return f"prediction {prediction!r}, gold {gold!r}"
