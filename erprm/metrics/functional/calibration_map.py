"""Maps from scores in [0, 1] to probabilities, fitted to labels after a model is trained.

Each map rises with the score. Three are logistic regressions on the logarithms of the score s and of 1 - s:

- ``temperature``: ``sigmoid(logit(s) / T)`` (Guo et al. 2017, arXiv 1706.04599);
- ``platt``: ``sigmoid(slope * logit(s) + intercept)`` (Platt 1999, on the logit);
- ``beta``: ``sigmoid(a * ln(s) - b * ln(1 - s) + c)`` (Kull, Silva Filho and Flach 2017), ``a`` and ``b`` at least 0;
- ``isotonic``: the least squares fit that does not fall (pool adjacent violators), joined by straight lines.

Labels are soft: a success rate counts as so many successes and failures. Computed in float64.

Shape suffixes: S steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from erprm.lookup import did_you_mean
from erprm.metrics.functional.step_scores import check_not_empty, check_shares, check_step_scores
from erprm.tensors import Numbers, as_tensor

CalibrationMethod: TypeAlias = Literal["temperature", "platt", "beta", "isotonic"]
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)
# The names of the parameters of each method.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "platt": ("slope", "intercept"),
    "beta": ("a", "b", "c"),
    "isotonic": ("scores", "values"),
}
# Less than what float32 resolves below 1: logits and losses stay finite, and no two scores near 1 become one.
EDGE = 2.0**-25
# Keeps what separable labels would drive to infinity; weighs as much as a millionth of the data.
_RIDGE = 1e-6


@dataclass(frozen=True)
class CalibrationMap:
    """A calibration: called with scores in [0, 1], it returns probabilities of the same shape.

    Attributes:
        method: one of ``temperature``, ``platt``, ``beta``, ``isotonic``.
        parameters: numbers by name: ``temperature``; ``slope`` and ``intercept``; ``a``, ``b`` and ``c``; or the lists
            ``scores`` and ``values``, the corners of an isotonic map.

    Example:
        >>> CalibrationMap("temperature", {"temperature": 2.0})([0.1, 0.5, 0.9])
        tensor([0.2500, 0.5000, 0.7500], dtype=torch.float64)
    """

    method: CalibrationMethod
    parameters: Mapping[str, float | list[float]]

    def __post_init__(self) -> None:
        """Checks that there is such a map.

        Raises:
            ValueError: if the method is unknown, or its parameters are others, no numbers, or of a map that falls.
        """
        check_method(self.method)
        if set(self.parameters) != set(names := _PARAMETERS[self.method]):
            raise ValueError(
                f"a calibration by {self.method} has the parameters {', '.join(names)}; found "
                f"{', '.join(self.parameters) or 'none'}"
            )
        if self.method == "isotonic":
            scores, values = (self.parameters[name] for name in names)
            if not (_are_rising(scores) and _are_rising(values) and len(scores) == len(values)):  # type: ignore[arg-type]
                raise ValueError("scores and values of an isotonic map must be equally many rising numbers in [0, 1]")
            return
        if not all(_is_number(value) for value in self.parameters.values()):
            raise ValueError(f"parameters are {dict(self.parameters)}; they must be finite numbers")
        *slopes, _ = self._weights if self.parameters.get("temperature") != 0.0 else (-1.0, 0.0)
        if min(slopes) < 0.0 or max(slopes) == 0.0:
            raise ValueError(f"parameters are {dict(self.parameters)}; probabilities must rise with the score")

    def __call__(self, scores: Numbers) -> Tensor:
        """Probabilities.

        Args:
            scores: numbers in [0, 1], any shape.

        Returns:
            The shape and type of the scores, float32 for integers.

        Raises:
            ValueError: for a score outside [0, 1] or NaN.
        """
        scores = as_tensor(scores, "scores")
        check_shares("scores", scores)
        if self.method == "isotonic":
            corners = (self.parameters["scores"], self.parameters["values"])
            exact = torch.from_numpy(np.asarray(np.interp(scores.double().cpu().numpy(), *corners))).to(scores.device)
        else:
            log_good, log_bad = _logs(scores)
            a, b, c = self._weights
            exact = (a * log_good - b * log_bad + c).sigmoid()
        return exact.to(scores.dtype if scores.is_floating_point() else torch.float32)

    @property
    def _weights(self) -> tuple[float, float, float]:
        """The weights a, b and c of beta calibration, of which the others are cases."""
        numbers: dict[str, float] = dict(self.parameters)  # type: ignore[arg-type]
        if self.method == "beta":
            return numbers["a"], numbers["b"], numbers["c"]
        slope = numbers["slope"] if self.method == "platt" else 1 / numbers["temperature"]
        return slope, slope, numbers.get("intercept", 0.0)


class NotRisingError(ValueError):
    """Labels that do not rise with the scores, where only a rising map can be fitted."""


def fit_calibration(scores_S: Numbers, labels_S: Numbers, method: CalibrationMethod = "beta") -> CalibrationMap:
    """Fits a calibration to labelled steps, by maximum likelihood (``isotonic``: by least squares, which is the same).

    A weight of beta calibration that would be negative is left out, as its authors do. Values of an isotonic map stay
    between ``1 / (S + 2)`` and ``(S + 1) / (S + 2)``: no number of steps makes a probability certain.

    Args:
        scores_S: step scores in [0, 1], shape [S].
        labels_S: labels in [0, 1], such as success rates, shape [S].
        method: the kind of map.

    Raises:
        NotRisingError: for labels that do not rise with the scores; an isotonic map can be fitted to them.
        ValueError: for mismatched shapes, no steps, a score or label outside [0, 1], or an unknown method.

    Example:
        A score of 0.5 is right once in four times; ``sigmoid(-ln 3)`` is 1/4.

        >>> fitted = fit_calibration([0.5, 0.5, 0.5, 0.5, 0.9, 0.9], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "platt")
        >>> fitted([0.5, 0.9])
        tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    check_method(method)
    scores_S, labels_S = as_tensor(scores_S, "scores_S").double(), as_tensor(labels_S, "labels_S").double()
    check_not_empty(scores_S)
    check_step_scores(scores_S, labels_S)
    check_shares("scores_S", scores_S)
    if method == "isotonic":
        return CalibrationMap(method, _isotonic(scores_S, labels_S))
    log_good_S, log_bad_S = _logs(scores_S)
    columns = {
        "temperature": {"slope": log_good_S - log_bad_S},
        "platt": {"slope": log_good_S - log_bad_S, "intercept": torch.ones_like(scores_S)},
        "beta": {"a": log_good_S, "b": -log_bad_S, "c": torch.ones_like(scores_S)},
    }[method]
    weights = _logistic_regression(columns, labels_S)
    slopes = {"slope", "a", "b"} & set(columns)
    while len(slopes) > 1 and (worst := min(sorted(slopes), key=weights.__getitem__)) and weights[worst] < 0.0:
        slopes.discard(worst)
        weights = _logistic_regression({name: columns[name] for name in columns if name != worst}, labels_S)
        weights[worst] = 0.0
    if max(weights[name] for name in slopes) <= 0.0:
        raise NotRisingError(
            f"the labels of {len(scores_S)} steps do not rise with their scores, so there is no calibration by "
            f"{method}: take more steps, or isotonic, which fits any labels"
        )
    if method == "temperature":
        weights = {"temperature": 1 / weights["slope"]}
    return CalibrationMap(method, {name: weights[name] for name in _PARAMETERS[method]})


def check_method(method: str) -> None:
    """A ValueError unless ``method`` is a :data:`CalibrationMethod`."""
    if method not in CALIBRATION_METHODS:
        raise ValueError(
            f"method is {method!r}; it must be one of {', '.join(CALIBRATION_METHODS)}"
            f"{did_you_mean(str(method), CALIBRATION_METHODS)}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _are_rising(values: object) -> bool:
    """True for a list of at least one number in [0, 1], none below the one before."""
    if not isinstance(values, list) or not values or not all(map(_is_number, values)):
        return False
    return values[0] >= 0.0 and values[-1] <= 1.0 and values == sorted(values)


def _logs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithms of the scores and of 1 - score, finite."""
    scores = scores.double().clamp(EDGE, 1 - EDGE)
    return scores.log(), (-scores).log1p()


def _logistic_regression(columns: Mapping[str, Tensor], labels_S: Tensor) -> dict[str, float]:
    """Weights of the columns, by Newton's method from those that leave the scores as they are."""
    features_SK = torch.stack(list(columns.values()), dim=1)
    start_K = torch.tensor([0.0 if name in ("intercept", "c") else 1.0 for name in columns], dtype=torch.float64)
    ridge_KK = _RIDGE * torch.eye(len(start_K), dtype=torch.float64)

    def loss(weights_K: Tensor) -> Tensor:
        likelihood = binary_cross_entropy_with_logits(features_SK @ weights_K, labels_S)
        return likelihood + _RIDGE * (weights_K - start_K).square().sum() / 2

    weights_K = start_K
    for _ in range(100):
        found_S = (features_SK @ weights_K).sigmoid()
        gradient_K = features_SK.T @ (found_S - labels_S) / len(labels_S) + ridge_KK @ (weights_K - start_K)
        curvature_S = found_S * (1 - found_S)
        hessian_KK = features_SK.T @ (curvature_S[:, None] * features_SK) / len(labels_S) + ridge_KK
        step_K = torch.linalg.solve(hessian_KK, gradient_K)
        before = loss(weights_K)
        while loss(weights_K - step_K) > before and step_K.abs().max() > 1e-12:
            step_K = step_K / 2
        weights_K = weights_K - step_K
        if step_K.abs().max() < 1e-10:
            break
    return dict(zip(columns, weights_K.tolist(), strict=True))


def _isotonic(scores_S: Tensor, labels_S: Tensor) -> dict[str, float | list[float]]:
    """Corners of the least squares fit that does not fall: both ends of each plateau."""
    distinct, place_S = scores_S.unique(return_inverse=True)
    sums = torch.zeros_like(distinct).scatter_add(0, place_S, labels_S).tolist()
    counts = place_S.bincount().tolist()
    plateaus: list[tuple[float, int, float, float]] = []  # sum and number of labels, first and last score
    for label, count, score in zip(sums, counts, distinct.tolist(), strict=True):
        plateau = (label, count, score, score)
        while plateaus and plateaus[-1][0] * plateau[1] >= plateau[0] * plateaus[-1][1]:
            below = plateaus.pop()
            plateau = (below[0] + plateau[0], below[1] + plateau[1], below[2], plateau[3])
        plateaus.append(plateau)
    least = 1 / (len(scores_S) + 2)
    corners = [
        (score, min(max(total / count, least), 1 - least))
        for total, count, first, last in plateaus
        for score in dict.fromkeys((first, last))
    ]
    return {"scores": [score for score, _ in corners], "values": [value for _, value in corners]}
