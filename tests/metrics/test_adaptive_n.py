"""Stopping rule of votes: probabilities in closed form."""

import math

import pytest

from erprm.metrics.adaptive_n import confidence_in_leader, lead_probability


@pytest.mark.parametrize("leading", [0, 1, 2, 7, 40])
def test_whole_votes_give_the_chance_of_coins(leading: int) -> None:
    # The mass of Beta(a + 1, b + 1) above 1/2 is the chance that of a + b + 1 coins at most a show heads.
    for second in range(leading + 1):
        coins = leading + second + 1
        chance = sum(math.comb(coins, heads) for heads in range(leading + 1)) / 2**coins
        assert lead_probability(leading, second) == pytest.approx(chance, abs=2e-12)


def test_parts_of_votes_count_as_such() -> None:
    # Beta(a, 1) has the mass 1 - 2^-a above 1/2, Beta(3/2, 3/2) half of it, and Beta(5/2, 3/2) 2 / (3 pi) more.
    assert lead_probability(0.5, 0.0) == pytest.approx(1 - 0.5**1.5)
    assert lead_probability(0.5, 0.5) == 0.5
    assert lead_probability(1.5, 0.5) == pytest.approx(0.5 + 2 / (3 * math.pi))


def test_many_votes_leave_a_little_doubt() -> None:
    assert lead_probability(1000.0, 0.0) == 1.0 - 1e-12
    assert lead_probability(5000.0, 5000.0) == 0.5


def test_the_two_leading_answers_are_compared() -> None:
    answers = ["7", "8", "7", None, "9", "8", "7"]
    # Three votes against two: 1 - P(at least 4 of 6 coins) = 1 - 22/64.
    assert confidence_in_leader([0.1] * 7, answers, "majority") == pytest.approx(42 / 64)
    # 8 has 1.5 parts of a vote, 7 has 0.5; a candidate without a score does not vote.
    scores = [0.25, 1.0, 0.25, 1.0, 0.1, 0.5, -math.inf]
    assert confidence_in_leader(scores, answers) == pytest.approx(0.5 + 2 / (3 * math.pi))


def test_without_votes_there_is_no_leader() -> None:
    assert confidence_in_leader([], []) == 0.0
    assert confidence_in_leader([0.5, -math.inf], [None, "7"]) == 0.0


def test_a_score_that_is_no_part_of_a_vote_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a score is 1\.5; .* it must be at most 1"):
        confidence_in_leader([0.5, 1.5], ["7", "8"])
    with pytest.raises(ValueError, match=r"a score is -0\.5; in a weighted vote scores must be at least 0"):
        confidence_in_leader([0.5, -0.5], ["7", "8"])
    assert confidence_in_leader([0.5, 1.5], ["7", "7"], "majority") == pytest.approx(0.875)
