import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from erprm.data.sources import load_problems
from erprm.data.statistics import (
    DataStatistics,
    fingerprint,
    mean,
    normalized_problem,
    problem_fingerprint,
    quantile,
    shared_problems,
)
from tests.tiny import make_record


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3 + 4?", "what is 3+4 ?"),
        ("Janet’s ducks\nlay “16” eggs.", 'Janet\'s ducks lay "16" eggs'),
        ("a total of 1,000 dollars", "a total of 1000 dollars."),
        (r"Compute $\dfrac{1}{2}$.", r"Compute \frac12"),
        (r"$\left( x, \; y \right)$", "(x,y)"),
        (r"Find $x^{2}$ in \text{cm}.", "Find $x^2$ in cm."),
        ("ﬁnd ２ ㎝", "find 2 cm"),
    ],
)
def test_two_settings_of_a_problem_are_one(one: str, other: str) -> None:
    assert normalized_problem(one) == normalized_problem(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 + 4", "3 - 4"),
        ("1.5 km", "15 km"),
        ("x < 2", "x > 2"),
        ("x^2", "x_2"),
        (r"\frac12", r"\binom12"),
        ("2 apples", "3 apples"),
        ("What is -4?", "What is 4?"),
    ],
)
def test_problems_that_differ_in_a_sign_or_a_number_are_two(one: str, other: str) -> None:
    assert normalized_problem(one) != normalized_problem(other)


def test_problems_of_the_public_sets_stay_apart(shared_data: str) -> None:
    sets = {
        "gsm8k_train": load_problems("gsm8k", f"{shared_data}/gsm8k_train.jsonl"),
        "gsm8k_test": load_problems("gsm8k", f"{shared_data}/gsm8k_test.jsonl"),
        "math500": load_problems("math", f"{shared_data}/math500.jsonl"),
    }
    prints = {name: {fingerprint(normalized_problem(p.question)) for p in problems} for name, problems in sets.items()}
    # The three sets hold no problem twice as they are published, and share none.
    assert {name: len(found) for name, found in prints.items()} == {
        "gsm8k_train": 7473,
        "gsm8k_test": 1319,
        "math500": 500,
    }
    assert all(not prints[one] & prints[other] for one, other in combinations(prints, 2))


def test_half_a_surrogate_pair_has_a_fingerprint() -> None:
    assert 0 <= fingerprint("\ud800") < 2**64


# Two problems; the steps of the first record have soft labels 1/4 and 1.
RECORDS = [
    make_record(0, [[1.0, 0.0, 0.0, 0.0], [1.0]], steps=["a b", "c"], question="What is 3 and 4?"),
    make_record(0, [[0.0]], steps=["a b"], question="what is 3 and 4 ?", correct=False),
    make_record(1, [[1.0, 1.0], [0.5, 0.0], [0.0]], question="What is 5?", correct=False),
]


def described(*records: object, etas: tuple[float, ...] = (0.0,), **options: object) -> DataStatistics:
    statistics = DataStatistics("data", etas, **options)  # type: ignore[arg-type]
    statistics.add(records)  # type: ignore[arg-type]
    return statistics


def test_solutions_problems_and_steps_are_counted() -> None:
    statistics = described(*RECORDS)
    assert (statistics.solutions, statistics.problems, statistics.correct) == (3, 2, 1)
    assert statistics.steps == {2: 1, 1: 1, 3: 1}
    # Last steps have their one outcome and no completions.
    assert statistics.completions == {4: 1, 2: 2}
    # The step with the reward 1/2 is no count of right completions.
    assert statistics.outcomes == {(4, 1): 1, (2, 2): 1}


def test_lengths_are_those_of_question_and_steps() -> None:
    statistics = described(RECORDS[0], count_tokens=lambda texts: [7 for _ in texts])
    # "What is 3 and 4?", "a b" and "c", with a line break between them.
    assert statistics.lengths == {"characters": {16 + 1 + 3 + 1 + 1: 1}, "words": {5 + 2 + 1: 1}, "tokens": {7: 1}}


def test_labels_are_counted_at_each_eta() -> None:
    statistics = described(*RECORDS, etas=(0.0, math.inf, -math.inf))
    soft, hard, least = (statistics.labels[eta] for eta in (0.0, math.inf, -math.inf))
    # Soft labels: 1/4, 1; 0; 1, 1/4, 0. Hard ones: 1, 1; 0; 1, 1/2, 0. The least: 0, 1; 0; 1, 0, 0.
    assert (soft.zeros, soft.ones, soft.count) == (2, 2, 6)
    assert np.flatnonzero(soft.between).tolist() == [5]  # [0.25, 0.3)
    assert soft.between[5] == 2
    assert soft.mean == pytest.approx(2.5 / 6)
    assert (hard.zeros, hard.ones, np.flatnonzero(hard.between).tolist()) == (2, 3, [10])
    assert (least.zeros, least.ones) == (4, 2)


def test_steps_that_bisection_did_not_complete_have_hard_labels_alone() -> None:
    statistics = described(make_record(0, [[], [1.0, 0.0], [0.0, 0.0], [], [0.0]]), etas=(0.0, math.inf))
    assert statistics.completions == {0: 2, 2: 2}
    soft, hard = statistics.labels[0.0], statistics.labels[math.inf]
    assert soft.count == 3
    assert soft.mean == pytest.approx(0.5 / 3)
    assert (hard.ones, hard.zeros) == (2, 3)


def test_a_duplicate_has_question_and_steps_of_an_earlier_solution() -> None:
    same, other_label = RECORDS[2], replace(RECORDS[2], rewards=[[0.0], [0.0], [0.0]], seed=7)
    other_split = replace(RECORDS[0], steps=["a b\nc", "d"]), replace(RECORDS[0], steps=["a b", "c\nd"])
    assert described(*RECORDS, same, other_label).duplicates == 2
    assert described(*other_split).duplicates == 0


def test_problems_in_both_of_two_data_sets_are_counted_whatever_their_setting() -> None:
    one, other = described(*RECORDS), described(replace(RECORDS[0], question="WHAT is 3  and 4"))
    assert one.shared_problems(other) == other.shared_problems(one) == 1
    assert [count for _, _, count in shared_problems([one, other, described(RECORDS[2])])] == [1, 1, 0]


def test_problems_of_a_benchmark_are_found() -> None:
    benchmarks = {"test": set(map(problem_fingerprint, ("What is 3 and 4", "What is 9?"))), "none": {1}}
    found = described(*RECORDS, benchmarks=benchmarks).benchmarks
    assert (found["test"].of, found["test"].problems, found["test"].solutions) == (2, 1, 2)
    assert found["test"].examples == ["What is 3 and 4?"]
    assert (found["none"].problems, found["none"].solutions) == (0, 0)


def test_many_records_are_counted_like_few() -> None:
    records = [make_record(i % 700, [[float(i % 3 == 0)], [1.0]]) for i in range(3000)]
    statistics = described(*records)
    assert (statistics.solutions, statistics.problems) == (3000, 700)
    assert (statistics.labels[0.0].zeros, statistics.labels[0.0].ones) == (2000, 4000)


def test_everything_can_be_written_as_json() -> None:
    statistics = described(*RECORDS, etas=(0.0, math.inf), benchmarks={"test": {1}})
    written = json.loads(json.dumps(statistics.to_dict(), allow_nan=False))
    assert written["steps"] == {"count": 3, "mean": 2.0, "min": 1, "median": 2, "p90": 3, "p99": 3, "max": 3}
    assert [labels["eta"] for labels in written["labels"]] == [0.0, "inf"]
    assert json.loads(json.dumps(described().to_dict(), allow_nan=False))["solutions"] == 0


@pytest.mark.parametrize(("share", "value"), [(0.1, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 9), (1.0, 9)])
def test_a_quantile_is_the_least_value_that_the_share_does_not_exceed(share: float, value: int) -> None:
    assert quantile({9: 1, 1: 2, 2: 1}, share) == value
    assert mean({9: 1, 1: 2, 2: 1}) == 13 / 4
