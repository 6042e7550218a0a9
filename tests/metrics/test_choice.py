import math

import pytest

from erprm.metrics.choice import Select, choose
from erprm.metrics.functional.entropic_vote import default_eta

SCORES = [0.9, 0.5, 0.6, 0.2]
ANSWERS = ["7", "8", "8", "9"]


@pytest.mark.parametrize(
    ("select", "eta", "chosen"),
    [
        ("best", None, 0),
        ("majority", None, 2),  # Two votes for 8; the better one of them is the third.
        ("weighted_vote", None, 2),  # 0.5 + 0.6 > 0.9
        ("entropic_vote", 0, 2),
        ("entropic_vote", 1.9, 2),  # e^(-0.3 eta) + e^(-0.4 eta) = 0.5655 + 0.4677 > 1
        ("entropic_vote", 2.1, 0),  # 0.5326 + 0.4317 < 1
        ("entropic_vote", "inf", 0),
    ],
)
def test_the_best_candidate_of_the_answer_that_wins(select: Select, eta: float | str | None, chosen: int) -> None:
    assert choose(SCORES, ANSWERS, select, eta) == chosen


def test_the_default_eta_is_that_of_a_pool_of_one_problem() -> None:
    # Deviations of 2, -1 and -1 thirtieths: the spread of those that vote is sqrt(0.02 / 9).
    scores, answers = [0.0, 1.0, 0.9, 0.9], [None, "7", "8", "8"]
    eta = 3 / math.sqrt(0.02 / 9)
    assert default_eta([scores[1:]]) == pytest.approx(eta)
    assert choose(scores, answers, "entropic_vote") == choose(scores, answers, "entropic_vote", eta) == 1
    # Two votes of exp(-0.1 eta) lose from eta = 6.94 on: the default, 63.6, is far beyond.
    assert choose(scores, answers, "entropic_vote", 6.9) == 2
    assert choose([0.4, 0.4, 0.4], ["7", "8", "8"], "entropic_vote") == 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 4, 1, 3, 2]])
def test_equal_totals_go_to_the_best_scored_candidate_in_any_order(order: list[int]) -> None:
    scores, answers = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1], ["a", "a", "a", "b", "b", "b"]
    chosen = choose([scores[i] for i in order], [answers[i] for i in order], "entropic_vote", 3.7)
    assert scores[order[chosen]] == 0.3


def test_what_has_no_answer_or_no_score_casts_no_vote() -> None:
    assert choose([0.9, 0.1, -math.inf, -math.inf], [None, "7", "8", "8"], "majority") == 1
    assert choose([0.9, 0.1], [None, None], "entropic_vote") == 0
    assert choose([-math.inf], ["7"], "majority") == 0


def test_what_no_vote_can_be_made_of_is_refused() -> None:
    with pytest.raises(ValueError, match="no candidate"):
        choose([], [])
    with pytest.raises(ValueError, match=r"a score is -1\.0; in a weighted vote"):
        choose([-1.0, 2.0], ["7", "8"], "weighted_vote")
    with pytest.raises(ValueError, match=r"eta is -1\.0; a vote needs one of at least 0"):
        choose([1.0, 2.0], ["7", "8"], "entropic_vote", -1)
