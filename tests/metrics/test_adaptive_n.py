"""Stopping rule of votes: probabilities in closed form, and the risk that a calibrated threshold keeps."""

import math
import random
from collections import Counter
from statistics import fmean

import pytest

from erprm.metrics import calibrate_adaptive_n
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


# Calibration ------------------------------------------------------------------------------------------------------

# Looked at after two and after four of six candidates.
ANSWERS = [
    [1, 1, 1, 1, 1, 1],  # never another answer than the last
    [2, 2, 2, 1, 2, 2],  # likewise
    [1, 2, 2, 2, 2, 2],  # 1 : 1, confidence 0.5, and the better score is that of the wrong answer
    [1, 1, 2, 2, 2, 2],  # 2 : 0 for the wrong answer, confidence 0.875
]
SCORES = [[0.5] * 6, [0.5] * 6, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5] * 6]


@pytest.mark.parametrize(
    ("alpha", "lost", "above"),
    [
        # At most k of 4 problems with 4/5 * k/4 + 1/5 <= alpha may be lost.
        (0.2, 0, 0.875),
        (0.39, 0, 0.875),
        (0.4, 1, 0.5),
        (0.59, 1, 0.5),
    ],
)
def test_the_smallest_confidence_that_loses_few_enough_problems(alpha: float, lost: int, above: float) -> None:
    assert 4 / 5 * lost / 4 + 1 / 5 <= alpha < 4 / 5 * (lost + 1) / 4 + 1 / 5
    confidence = calibrate_adaptive_n(SCORES, ANSWERS, alpha, batch=2, vote="majority")
    assert confidence == math.nextafter(above, 1.0)  # At `above` itself a problem more would be lost.


def test_where_enough_problems_may_be_lost_any_confidence_will_do() -> None:
    # Two of four: 4/5 * 2/4 + 1/5 = 0.6.
    assert calibrate_adaptive_n(SCORES, ANSWERS, 0.6, batch=2, vote="majority") == 0.5


def test_a_problem_that_a_higher_confidence_loses_is_lost_at_lower_ones() -> None:
    # 2 : 0 is right by chance, confidence 0.875; 2 : 6 is not, with 1 - P(at least 7 of 9 coins) = 1 - 46/512.
    answers = [[1, 1, *[2] * 6, *[1] * 8]]
    confidence = calibrate_adaptive_n([[0.5] * 16], answers, 0.5, batch=2, vote="majority")
    assert confidence == math.nextafter(1 - 46 / 512, 1.0)


def test_scores_weigh_votes_and_padding_is_not_read() -> None:
    # One vote of 1 after the first candidate: 1 - 2^-2. The other two have more in the end.
    nan = math.nan
    scores, answers = [[1.0, 0.6, 0.7, nan], [0.0, 1.0, -math.inf, 1.0]], [[1, 2, 2, -7], [-1, 3, 4, 3]]
    valid = [[True, True, True, False], [True] * 4]
    confidence = calibrate_adaptive_n(scores, answers, 0.4, batch=1, valid_PN=valid)
    assert confidence == math.nextafter(0.75, 1.0)


LOOKS = range(2, 16, 2)


def stops(answers: list[int], scores: list[float]) -> list[tuple[float, bool]]:
    """Confidence at each look by the chance of coins, and whether the leader is another than in the end."""

    def leader(count: int) -> tuple[float, int]:
        votes = Counter(answers[:count])
        (_, most), *others = votes.most_common()
        coins = most + (others[0][1] if others else 0) + 1
        best = max((i for i in range(count) if votes[answers[i]] == most), key=lambda i: scores[i])
        return sum(math.comb(coins, heads) for heads in range(most + 1)) / 2**coins, answers[best]

    last = leader(len(answers))[1]
    return [(confidence, answer != last) for confidence, answer in map(leader, LOOKS)]


def stop_at(looks: list[tuple[float, bool]], confidence: float) -> tuple[int, bool]:
    """The number of candidates, and whether the answer is another than that of all 16."""
    found = [(count, other) for count, (reached, other) in zip(LOOKS, looks, strict=True) if reached >= confidence]
    return found[0] if found else (16, False)


def test_on_new_problems_the_share_of_other_answers_is_at_most_alpha_on_average() -> None:
    world = random.Random(0)
    answers_PN, scores_PN = [], []
    for _ in range(300):
        weights = [world.random() for _ in range(3)]
        answers_PN.append(world.choices(range(3), weights, k=16))
        scores_PN.append([world.random() for _ in range(16)])
    looks = [stops(answers, scores) for answers, scores in zip(answers_PN, scores_PN, strict=True)]
    alpha, risks, counts = 0.1, [], []
    for _ in range(200):
        calibration = world.sample(range(300), 40)
        confidence = calibrate_adaptive_n(
            [scores_PN[p] for p in calibration], [answers_PN[p] for p in calibration], alpha, batch=2, vote="majority"
        )
        stopped = [stop_at(looks[p], confidence) for p in set(range(300)).difference(calibration)]
        risks.append(fmean(other for _, other in stopped))
        counts.append(fmean(count for count, _ in stopped))
    assert fmean(risks) <= alpha + 0.01
    # The promise is not kept by sampling everything.
    assert fmean(risks) > alpha / 5
    assert fmean(counts) < 14


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; it must be above 0 and below 1"),
        ({"alpha": 1.0}, "alpha is 1.0; it must be above 0 and below 1"),
        ({"alpha": math.nan}, "alpha is nan; it must be above 0 and below 1"),
        ({"alpha": 0.1}, r"alpha is 0.1; 4 problems allow no promise below 1/5 = 0.2: give at least 9 problems"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"vote": "best"}, "vote is 'best'; it must be one of majority, weighted_vote"),
        ({"scores_PN": [[0.5] * 6] * 3}, r"scores_PN must have shape \[4, 6\], found \[3, 6\]"),
        ({"scores_PN": [[1.5] * 6] * 4, "vote": "weighted_vote"}, "a score is 1.5; .* it must be at most 1"),
        ({"answers_PN": [[-2] * 6] * 4}, "answers_PN of problem 0, candidate 0 is -2: ids start at -1"),
        ({"answers_PN": [1, 2]}, r"answers_PN must have shape \[problems, candidates\], found \[2\]"),
    ],
)
def test_what_allows_no_promise_is_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"scores_PN": SCORES, "answers_PN": ANSWERS, "alpha": 0.5, "batch": 2, "vote": "majority"}
    with pytest.raises(ValueError, match=message):
        calibrate_adaptive_n(**{**arguments, **changes})  # type: ignore[arg-type]
