"""Particle search: sequential Monte Carlo over steps, whose target is the optimal policy of the scores.

The target is ``pi* ~ pi0 * exp(eta * r)`` (arXiv 2412.11006) with the policy as ``pi0`` and the score R of a solution's
last step as ``r``. A particle that has written its step t gets the weight ``exp(eta * (R_t - R_{t-1}))`` on top of what
it has. With ``R_0 = 0`` the weights of a whole solution multiply to ``exp(eta * R)``. Another ``R_0`` would multiply
all weights of a problem by one constant, which changes the normaliser ``E_pi0[exp(eta * R)]`` but not ``pi*``.

If a model was trained on labels of the same eta, its score of a step estimates ``(1/eta) ln E_pi0[exp(eta * r)]`` of
what may follow; then each increment says how much more often ``pi*`` takes the step than ``pi0`` does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erprm.errors import InputError
from erprm.search.protocol import START, Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class Particles:
    """Weighted solutions, distributed as the optimal policy writes them if there are many.

    Attributes:
        solutions: all have ended; copies of a particle that was resampled may be equal.
        log_weights: logarithm of the weight of each. The weights of one run add up to an unbiased estimate of the
            normaliser ``E_pi0[exp(eta * R)]``; divided by their sum they are probabilities.
    """

    solutions: tuple[PartialSolution, ...]
    log_weights: tuple[float, ...]

    @property
    def log_normalizer(self) -> float:
        """Logarithm of the estimate of the normaliser; the estimate is unbiased, its logarithm is not."""
        return float(np.logaddexp.reduce(self.log_weights))


@dataclass(frozen=True)
class _Particle:
    solution: PartialSolution
    log_weight: float

    @property
    def goes_on(self) -> bool:
        return self.solution.end is None


@dataclass(frozen=True)
class ParticleSearch:
    """Sequential Monte Carlo: particles grow step by step, and those of little weight make room for others.

    When the effective sample size ``(sum w)^2 / sum w^2`` falls below a share of the particles, all are resampled
    (systematically). One that has ended stays a particle with its weight. The candidates are the particles; with tokens
    left, the search begins anew.

    If the budget does not allow a step of all particles that go on, these are resampled to as many as it allows, at
    last to one. As this keeps their total weight, the estimate of the normaliser stays unbiased.

    Attributes:
        n: the most particles.
        eta: of the optimal policy; a finite number, and 0 samples from the policy itself.
        ess_threshold: share of the particles, in [0, 1]; with 0 they are resampled only for the budget's sake.
    """

    n: int = 16
    eta: float = 5.0
    ess_threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}; it must be at least 1")
        if not math.isfinite(self.eta):
            raise ValueError(f"eta is {self.eta}; it must be a finite number")
        if not 0.0 <= self.ess_threshold <= 1.0:
            raise ValueError(f"ess_threshold is {self.ess_threshold}; it must be in [0, 1]")

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        draws = random.Random(budget.seed)
        candidates: list[PartialSolution] = []
        while budget.solutions:
            particles = yield from self.particles(budget, draws)
            candidates += particles.solutions
        return candidates

    def particles(
        self, budget: Budget, draws: random.Random
    ) -> Generator[Expand, list[list[PartialSolution]], Particles]:
        """One run of the particles.

        Args:
            budget: as of a search; at least one solution can be begun.
            draws: where the random numbers of resampling come from.

        Raises:
            InputError: if no particle has a weight above zero, or one has none that is finite.
        """
        count = min(self.n, max(1, budget.spare_steps([START])))
        particles = [_Particle(START, -math.log(count))] * count
        while going_on := [particle for particle in particles if particle.goes_on]:
            ended = [particle for particle in particles if not particle.goes_on]
            allowed = max(1, budget.spare_steps([particle.solution for particle in going_on]))
            if len(going_on) > allowed:
                going_on = _resampled(going_on, allowed, draws)
            count = len(ended) + len(going_on)
            particles = _alive(ended + (yield from self._next_steps(going_on)), self.eta)
            if _effective_size(particles) < self.ess_threshold * count and any(each.goes_on for each in particles):
                particles = _resampled(particles, count, draws)
        return Particles(
            tuple(particle.solution for particle in particles), tuple(particle.log_weight for particle in particles)
        )

    def _next_steps(
        self, particles: Sequence[_Particle]
    ) -> Generator[Expand, list[list[PartialSolution]], list[_Particle]]:
        """Each particle with its next step, weighted."""
        copies: dict[tuple[int, ...], list[_Particle]] = {}
        for particle in particles:
            copies.setdefault(particle.solution.token_ids, []).append(particle)
        stepped: list[_Particle] = []
        # A request has one number for all: particles with equally many copies share one.
        for number in sorted({len(equal) for equal in copies.values()}):
            parents = [equal for equal in copies.values() if len(equal) == number]
            continued = yield Expand([equal[0].solution for equal in parents], number)
            for equal, children in zip(parents, continued, strict=True):
                stepped += [self._weighted(parent, child) for parent, child in zip(equal, children, strict=True)]
        return stepped

    def _weighted(self, parent: _Particle, child: PartialSolution) -> _Particle:
        gain = _reward(child) - _reward(parent.solution)
        return _Particle(child, parent.log_weight + self.eta * gain)


def _reward(partial: PartialSolution) -> float:
    """R, the score of the newest step; 0 before the first."""
    return partial.last_score if partial.step_scores else 0.0


def _alive(particles: Sequence[_Particle], eta: float) -> list[_Particle]:
    """The particles that have a weight above zero.

    Raises:
        InputError: if there is none, or a weight is infinite or NaN.
    """
    for particle in particles:
        if math.isnan(particle.log_weight) or particle.log_weight == math.inf:
            raise InputError(
                f"{_told(particle)} gives a particle no finite weight exp(eta * score) at eta {eta}; scores must be "
                "finite, or -inf at an eta above 0"
            )
    alive = [particle for particle in particles if particle.log_weight > -math.inf]
    if not alive:
        raise InputError(
            f"no particle is left: the weight exp(eta * score) of all {len(particles)} is zero at eta {eta}, for "
            f"example {_told(particles[0])}"
        )
    return alive


def _told(particle: _Particle) -> str:
    steps = particle.solution.steps
    return f"the score {_reward(particle.solution)} of the step {steps[-1][:80] if steps else ''!r}"


def _effective_size(particles: Sequence[_Particle]) -> float:
    """Effective sample size, between 1 and the number of particles."""
    weights = _relative_weights(particles)
    return float(weights.sum() ** 2 / (weights**2).sum())


def _resampled(particles: Sequence[_Particle], count: int, draws: random.Random) -> list[_Particle]:
    """So many particles in place of these, with the same total weight in equal parts.

    Systematic resampling (Kitagawa 1996): equally spaced points with one random offset, along the weights laid end to
    end. So each particle is copied ``count * weight / total`` times, rounded up or down at random.
    """
    ends = _relative_weights(particles).cumsum()
    points = (draws.random() + np.arange(count)) * ends[-1] / count
    # Rounding may put the last point at the very end.
    places = np.searchsorted(ends, points, side="right").clip(max=len(particles) - 1)
    log_total = float(np.logaddexp.reduce([particle.log_weight for particle in particles]))
    return [_Particle(particles[place].solution, log_total - math.log(count)) for place in places]


def _relative_weights(particles: Sequence[_Particle]) -> NDArray[np.float64]:
    """Weights over the largest one."""
    log_weights = np.array([particle.log_weight for particle in particles], dtype=np.float64)
    weights: NDArray[np.float64] = np.exp(log_weights - log_weights.max())
    return weights
