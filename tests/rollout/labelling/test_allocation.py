"""Whatever an allocation stores, its mean is unbiased: exact sums over everything that may be drawn."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from erprm.rollout.labelling.allocation import Allocation, Draw

# How a completion may go on: whether it gives the prefix, its reward, its probability.
SELECTED = [(True, 0.0, 0.10), (True, 0.6, 0.15), (True, 1.0, 0.35), (False, 0.0, 0.05), (False, 1.0, 0.35)]
ALL_ALIKE = [(True, 0.0, 0.7), (True, 1.0, 0.3)]
Chances = list[tuple[bool, float, float]]


def labels(
    allocation: Allocation, chances: Chances, solutions: tuple[float, ...], draws: tuple[Draw, ...] = ()
) -> Iterator[tuple[float, list[float], int]]:
    """Everything that may come of a prefix: its probability, the rewards stored, and how many draws they took."""
    wanted = allocation.wanted(solutions, draws)
    if not wanted:
        yield 1.0, allocation.rewards(solutions, draws), len(draws)
        return
    for drawn in product(chances, repeat=wanted):
        probability = math.prod(chance for _, _, chance in drawn)
        new = tuple(Draw(reward, gives_prefix) for gives_prefix, reward, _ in drawn)
        for rest, rewards, count in labels(allocation, chances, solutions, (*draws, *new)):
            yield probability * rest, rewards, count


def expected_label(allocation: Allocation, chances: Chances, solutions: int, f: Callable[[float], float]) -> float:
    """The mean of what is stored, expected over solutions, which all gave the prefix, and draws."""
    giving = [(reward, chance) for gives_prefix, reward, chance in chances if gives_prefix]
    total = sum(chance for _, chance in giving)
    expected = 0.0
    for given in product(giving, repeat=solutions):
        probability = math.prod(chance / total for _, chance in given)
        outcomes = tuple(reward for reward, _ in given)
        for rest, rewards, _ in labels(allocation, chances, outcomes):
            expected += probability * rest * sum(map(f, rewards)) / len(rewards)
    return expected


@pytest.mark.parametrize("chances", [SELECTED, ALL_ALIKE])
@pytest.mark.parametrize("eta", [0.0, 2.0, -3.0])
@pytest.mark.parametrize(
    ("most", "enough", "solutions"),
    [(4, None, 0), (4, None, 1), (4, None, 2), (5, 2, 0), (5, 3, 0), (5, 3, 1), (6, 4, 2), (4, 4, 1)],
)
def test_the_mean_of_what_is_stored_is_the_exact_mean(
    chances: Chances, eta: float, most: int, enough: int | None, solutions: int
) -> None:
    def f(reward: float) -> float:
        return math.exp(eta * reward) if eta else reward

    allocation = Allocation(most, enough, threshold=0.5)
    assert solutions <= allocation.most_solutions
    exact = sum(chance * f(reward) for _, reward, chance in chances)
    assert expected_label(allocation, chances, solutions, f) == pytest.approx(exact, rel=1e-12)


def test_counting_solutions_always_would_be_biased() -> None:
    # Four draws with mean 0.79, or two with it and two from those that give the prefix: (0.09 + 0.35) / 0.6 = 0.7333.
    class Naive(Allocation):
        def rewards(self, solutions: object, draws: object) -> list[float]:
            return [*solutions, *(draw.reward for draw in draws)]  # type: ignore[misc, attr-defined]

    naive = expected_label(Naive(4, None, 0.5), SELECTED, 2, float)
    assert naive == pytest.approx((0.79 * 2 + 0.44 / 0.6 * 2) / 4)


def test_the_plain_mean_after_enough_successes_would_be_biased() -> None:
    # At most two draws, ended by a first success: p + (1 - p) p / 2 = 0.3 + 0.105, not 0.3. With two successes of at
    # most three draws: p^2 * 1 + 2 p^2 (1 - p) * 2/3 + 3 p (1-p)^2 / 3 = 0.09 + 0.084 + 0.147 = 0.321.
    plain = 0.0
    for probability, rewards, count in labels(Allocation(3, 2, 0.5), ALL_ALIKE, ()):
        successes = sum(rewards) + (len(rewards) < count)
        plain += probability * successes / count
    assert plain == pytest.approx(0.321)


def test_draws_end_with_enough_successes_or_at_the_most() -> None:
    for _, rewards, count in labels(Allocation(6, 3, 0.5), ALL_ALIKE, ()):
        ended_by_success = len(rewards) < count
        assert sum(rewards) == 2 if ended_by_success else count == 6
        assert sum(rewards) < 3
    # Nothing is drawn in vain: a batch ends at the latest with the success, or the completion, that ends the prefix.
    assert Allocation(6, 3, 0.5).wanted([], []) == 3
    assert Allocation(6, 3, 0.5).wanted([1.0], [Draw(1.0, True), Draw(0.0, True)]) == 1
    assert Allocation(6, 3, 0.5).wanted([], [Draw(0.0, True)] * 5) == 1


def test_solutions_are_left_out_if_one_completion_would_not_have_given_the_prefix() -> None:
    giving, other = Draw(0.0, True), Draw(1.0, False)
    assert Allocation(4, None, 0.5).rewards([1.0, 0.0], [giving, giving]) == [1.0, 0.0, 0.0, 0.0]
    assert Allocation(4, None, 0.5).rewards([1.0, 0.0], [giving, other]) == [0.0, 1.0]
    # Ended by a success that did not give the prefix: it is left out itself, and so are the solutions.
    assert Allocation(8, 4, 0.5).rewards([1.0, 1.0], [giving, Draw(1.0, True), other]) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("most", "enough", "solutions"), [(1, None, 0), (8, None, 4), (16, 2, 0), (16, 3, 1), (16, 8, 4)]
)
def test_a_completion_is_left_whatever_happens(most: int, enough: int | None, solutions: int) -> None:
    allocation = Allocation(most, enough, 0.5)
    assert allocation.most_solutions == solutions
    # The fewest draws: solutions and completions all right, but none as the solutions were selected.
    given, draws = [1.0] * solutions, list[Draw]()
    while wanted := allocation.wanted(given, draws):
        draws += [Draw(1.0, False)] * wanted
    assert allocation.rewards(given, draws)
