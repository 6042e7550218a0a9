"""Particle search: by hand, and against exact enumeration in a world of six solutions."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import pytest

from erprm.errors import InputError
from erprm.search import START, Budget, Expand, PartialSolution, ParticleSearch
from erprm.search.methods.particles import Particles
from tests.search.conftest import partial

# By hand ----------------------------------------------------------------------------------------------------------


class Run:
    """One run of the particles, answered by hand."""

    def __init__(self, search: ParticleSearch, tokens: int = 1000) -> None:
        self.budget = Budget(tokens, max_tokens=30, max_step_tokens=5)
        self.steps = search.particles(self.budget, random.Random(0))
        self.request = next(self.steps)
        self.particles: Particles | None = None

    def answer(self, continued: Sequence[Sequence[PartialSolution]], spent: int = 0) -> None:
        self.budget.spent += spent
        try:
            self.request = self.steps.send([list(each) for each in continued])
        except StopIteration as end:
            self.particles = end.value


LN_2 = math.log(2)


def test_weights_follow_the_newest_score_and_their_sum_is_the_normalizer() -> None:
    run = Run(ParticleSearch(n=2, eta=LN_2))
    assert run.request == Expand([START], 2)
    a, b = partial(1, 1.0), partial(2, 0.0)
    run.answer([[a, b]])
    # The weights are 2 and 1: an effective size of 9 / 5, above half of two particles.
    assert run.request == Expand([a, b], 1)
    run.answer([[partial(1, -1.0, 6, "stop")], [partial(2, 1.0, 6, "length")]])
    # 2^-1 and 2^1, whatever the steps between; each particle counts half.
    assert run.particles is not None
    assert [solution.token_ids[0] for solution in run.particles.solutions] == [1, 2]
    assert [math.exp(each) for each in run.particles.log_weights] == pytest.approx([0.25, 1.0])
    assert run.particles.log_normalizer == pytest.approx(math.log(1.25))


def test_a_particle_that_has_ended_keeps_its_weight_while_others_go_on() -> None:
    run = Run(ParticleSearch(n=2, eta=LN_2))
    ended, going_on = partial(1, 1.0, end="stop"), partial(2, 0.0)
    run.answer([[ended, going_on]])
    assert run.request == Expand([going_on], 1)
    also = partial(2, 2.0, 6, "stop")
    run.answer([[also]])
    assert run.particles is not None
    assert run.particles.solutions == (ended, also)
    assert [math.exp(each) for each in run.particles.log_weights] == pytest.approx([1.0, 2.0])


def test_particles_are_resampled_when_few_of_them_hold_the_weight() -> None:
    run = Run(ParticleSearch(n=4, eta=1.0, ess_threshold=0.6))
    a, b = partial(1, 0.3), partial(2, 0.3)
    # Two of weight zero are gone: an effective size of 2, below 0.6 * 4. Two copies each, wherever the offset is.
    run.answer([[a, partial(3, -math.inf), b, partial(4, -math.inf)]])
    assert run.request == Expand([a, b], 2)
    run.answer([[partial(name, 0.3, 6, "stop") for name in (1, 1)], [partial(name, 0.3, 6, "stop") for name in (2, 2)]])
    assert run.particles is not None
    assert len(run.particles.solutions) == 4
    assert [math.exp(each) for each in run.particles.log_weights] == pytest.approx([0.125 * math.exp(0.3)] * 4)


def test_a_threshold_of_zero_never_resamples_and_one_of_1_always_does_once_weights_differ() -> None:
    first = [partial(1, 1.0), *(partial(name, 0.0) for name in (2, 3, 4))]
    never, always = Run(ParticleSearch(4, 100.0, 0.0)), Run(ParticleSearch(4, 100.0, 1.0))
    never.answer([first])
    assert never.request == Expand(first, 1)
    always.answer([first])
    assert always.request == Expand([first[0]], 4)


def test_copies_of_different_numbers_are_asked_for_in_requests_of_their_own() -> None:
    run = Run(ParticleSearch(n=4, eta=0.0))
    a, b, c = partial(1, 0.5), partial(2, 0.5), partial(3, 0.5)
    run.answer([[a, b, a, c]])
    assert run.request == Expand([b, c], 1)
    run.answer([[partial(2, 0.5, 6, "stop")], [partial(3, 0.5, 6, "stop")]])
    assert run.request == Expand([a], 2)
    run.answer([[partial(1, 0.5, 6, "stop")] * 2])
    assert run.particles is not None
    assert sorted(solution.token_ids[0] for solution in run.particles.solutions) == [1, 1, 2, 3]


def test_equal_tokens_are_one_partial_solution_though_their_scores_differ_in_the_last_digit() -> None:
    run = Run(ParticleSearch(n=2, eta=1.0))
    a = partial(1, 0.5)
    run.answer([[a, partial(1, 0.5 + 1e-9)]])
    assert run.request == Expand([a], 2)


def test_particles_become_fewer_where_the_budget_does_not_allow_a_step_of_all() -> None:
    run = Run(ParticleSearch(n=8, eta=1.0, ess_threshold=0.0), tokens=52)
    # 52 - 30 to end a solution: four steps of five tokens.
    assert run.request == Expand([START], 4)
    a, b = partial(1, 800.0), partial(2, 0.0)
    # 12 spent: 40 are left, 27 may be needed to end one, so two steps. Nearly all the weight is a's.
    run.answer([[a, b, b, b]], 12)
    assert run.request == Expand([a], 2)
    ended, c = partial(3, 800.0, 8, "stop"), partial(4, 800.0, 8)
    # 32 are left, 22 may be needed: two steps again.
    run.answer([[ended, c]], 10)
    assert run.request == Expand([c], 1)
    run.answer([[partial(4, 800.0, 13, "stop")]], 5)
    assert run.particles is not None
    # One of four particles has weighed e^800, one e^0 three times.
    assert run.particles.log_normalizer == pytest.approx(800.0 - math.log(4))


def test_the_last_particle_is_written_to_its_end_if_no_step_can_be_spared() -> None:
    run = Run(ParticleSearch(n=2, eta=0.0), tokens=40)
    ended, a = partial(1, 0.5, 4, "stop"), partial(2, 0.5, 5)
    run.answer([[ended, a]], 9)
    # 31 are left, and 25 may be needed: one step.
    assert run.request == Expand([a], 1)
    b = partial(2, 0.5, 10)
    run.answer([[b]], 5)
    run.budget.spent = 20  # 20 are left and 20 may be needed: none can be spared.
    assert run.budget.spare_steps([b]) == 0
    assert run.request == Expand([b], 1)


def test_a_search_begins_anew_with_the_tokens_that_are_left() -> None:
    budget = Budget(60, max_tokens=30, max_step_tokens=5)
    steps = ParticleSearch(n=2).search(budget)
    assert next(steps) == Expand([START], 2)
    budget.spent = 10
    solutions = [partial(name, 0.5, 5, "stop") for name in (1, 2)]
    assert steps.send([solutions]) == Expand([START], 2)
    budget.spent = 31
    with pytest.raises(StopIteration) as end:
        steps.send([solutions])
    assert end.value.value == [*solutions, *solutions]


# Against enumeration ----------------------------------------------------------------------------------------------


class Step(NamedTuple):
    chance: float
    token: int
    score: float
    ends: bool = False


# What the policy may write after each prefix.
NEXT_STEPS = {
    (): [Step(0.6, 1, 0.2), Step(0.3, 2, 0.7), Step(0.1, 3, 0.5, True)],
    (1,): [Step(0.5, 4, 0.1, True), Step(0.5, 5, 0.9)],
    (2,): [Step(0.8, 6, 0.3, True), Step(0.2, 7, 1.0, True)],
    (1, 5): [Step(0.25, 8, 0.8, True), Step(0.75, 9, 0.4, True)],
}
ETA = 4.0
# pi0 and the last score of each solution, multiplied out.
SOLUTIONS = {
    (3,): (0.1, 0.5),
    (1, 4): (0.3, 0.1),
    (1, 5, 8): (0.075, 0.8),
    (1, 5, 9): (0.225, 0.4),
    (2, 6): (0.24, 0.3),
    (2, 7): (0.06, 1.0),
}
NORMALIZER = sum(chance * math.exp(ETA * score) for chance, score in SOLUTIONS.values())
OPTIMAL = {ids: chance * math.exp(ETA * score) / NORMALIZER for ids, (chance, score) in SOLUTIONS.items()}


def continued(parent: PartialSolution, policy: random.Random) -> PartialSolution:
    steps = NEXT_STEPS[parent.token_ids]
    (step,) = policy.choices(steps, [each.chance for each in steps])
    scores = (*parent.step_scores, step.score)
    ids = (*parent.token_ids, step.token)
    return PartialSolution(ids, "", tuple(map(str, ids)), scores, step.score, "stop" if step.ends else None)


def run_in_world(search: ParticleSearch, seed: int, tokens: int = 1_000_000) -> Particles:
    policy, budget = random.Random(f"policy {seed}"), Budget(tokens, max_tokens=3, max_step_tokens=1)
    steps = search.particles(budget, random.Random(f"draws {seed}"))
    request = next(steps)
    while True:
        budget.spent += request.n * len(request.partials)
        assert budget.left >= 0
        try:
            request = steps.send([[continued(parent, policy) for _ in range(request.n)] for parent in request.partials])
        except StopIteration as end:
            particles: Particles = end.value
            return particles


def divergence(particles: Particles) -> float:
    """KL divergence of the weighted solutions from the optimal policy."""
    shares: dict[tuple[int, ...], float] = defaultdict(float)
    for solution, log_weight in zip(particles.solutions, particles.log_weights, strict=True):
        shares[solution.token_ids] += math.exp(log_weight - particles.log_normalizer)
    assert sum(shares.values()) == pytest.approx(1.0)
    return sum(share * math.log(share / OPTIMAL[ids]) for ids, share in shares.items() if share)


def test_the_chances_of_all_solutions_add_up_and_the_normalizer_is_their_mean_weight() -> None:
    assert sum(chance for chance, _ in SOLUTIONS.values()) == pytest.approx(1.0)
    # 0.1 e^2 + 0.3 e^0.4 + 0.075 e^3.2 + 0.225 e^1.6 + 0.24 e^1.2 + 0.06 e^4
    assert math.isclose(NORMALIZER, 8.2135, abs_tol=1e-3)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_many_particles_are_distributed_as_the_optimal_policy(threshold: float) -> None:
    # The divergence of independent samples is about 5 / (2 n).
    few, many = (
        fmean(divergence(run_in_world(ParticleSearch(n, ETA, threshold), seed)) for seed in range(runs))
        for n, runs in ((4, 60), (1024, 12))
    )
    assert many < 0.02
    assert few > 10 * many


@pytest.mark.parametrize(
    ("search", "tokens"),
    [
        (ParticleSearch(4, ETA), 1_000_000),
        (ParticleSearch(4, ETA, 0.0), 1_000_000),
        (ParticleSearch(4, ETA, 1.0), 1_000_000),
        # Seven tokens: four first steps, then one particle alone.
        (ParticleSearch(4, ETA), 7),
    ],
)
def test_the_estimate_of_the_normalizer_is_unbiased(search: ParticleSearch, tokens: int) -> None:
    estimates = [math.exp(run_in_world(search, seed, tokens).log_normalizer) for seed in range(4000)]
    error = stdev(estimates) / math.sqrt(len(estimates))
    assert error < 0.05 * NORMALIZER
    assert abs(fmean(estimates) - NORMALIZER) < 4 * error


# What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n is 0; it must be at least 1"),
        ({"eta": math.nan}, "eta is nan; it must be a finite number"),
        ({"eta": math.inf}, "eta is inf; it must be a finite number"),
        ({"ess_threshold": 1.5}, r"ess_threshold is 1.5; it must be in \[0, 1\]"),
        ({"ess_threshold": math.nan}, r"ess_threshold is nan; it must be in \[0, 1\]"),
    ],
)
def test_settings_that_make_no_particles_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParticleSearch(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([-math.inf, -math.inf], "no particle is left: .* of all 2 is zero at eta 2.0, .* -inf of the step 'step 0'"),
        ([0.5, math.inf], r"the score inf of the step 'step 1' gives a particle no finite weight exp\(eta \* score\)"),
        ([math.nan, 0.5], "the score nan of the step 'step 0' gives a particle no finite weight"),
    ],
)
def test_scores_that_leave_no_particle_with_a_weight_are_an_error(scores: list[float], message: str) -> None:
    run = Run(ParticleSearch(n=2, eta=2.0))
    with pytest.raises(InputError, match=message):
        run.answer([[partial(name, score) for name, score in enumerate(scores)]])
