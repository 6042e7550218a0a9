"""The comparison of label methods, on a pool and scores small enough to be reckoned by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from erprm.ablation.report import ablation_markdown, draw_ablation
from erprm.ablation.results import (
    Ablation,
    CostRow,
    LabelMethodScores,
    ablation_content,
    compare,
    cost_name,
    histogram_in_json,
)
from erprm.data.pools import GradedPool, grade_pool, read_pool
from erprm.data.statistics import LABEL_BINS, LabelHistogram

COSTS = [
    CostRow("rollouts", "labelling", [60.0], [None], [None], [None]),
    CostRow("ER, eta 2", "training", [1.0, 2.0], [3.0, 3.0], [2**20, 3 * 2**20], [0, 0]),
]


@pytest.fixture
def graded(tmp_path: Path) -> GradedPool:
    """Two problems of two candidates, the first of each right."""
    rows = [
        '{"question": "1 + 1?", "answer": "2", "candidates": ["one\\n#### 2", "one\\n#### 3"]}',
        '{"question": "2 + 2?", "answer": "4", "candidates": ["two\\n#### 4", "two\\n#### 5"]}',
    ]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return grade_pool(read_pool(tmp_path / "pool.jsonl"), "gsm8k", "lines")


def scores(*least: float) -> list[Tensor]:
    """Two steps a candidate; the first has the score that is given, the last is always sure."""
    return [torch.tensor([score, 1.0]) for score in least]


@pytest.fixture
def ablation(graded: GradedPool) -> Ablation:
    right, wrong = (0.9, 0.1), (0.1, 0.9)
    methods = [
        LabelMethodScores("eta 0", 0.0, [scores(*right, *wrong), scores(*right, *wrong)]),
        LabelMethodScores("eta inf", math.inf, [scores(*right, *right), scores(*right, *wrong)]),
        LabelMethodScores("outcome", None, [scores(*wrong, *wrong), scores(*wrong, *wrong)]),
    ]
    return compare(methods, graded, "min")


def test_accuracies_are_means_over_seeds_and_problems(ablation: Ablation) -> None:
    curves = {each.name: each for each in ablation.chosen}
    assert {name: each.curve.mean for name, each in curves.items()} == {
        "eta 0": [0.5, 0.5], "eta inf": [0.5, 0.75], "outcome": [0.5, 0.0]
    }  # fmt: skip
    assert curves["eta inf"].by_seed == [[0.5, 1.0], [0.5, 0.5]]
    assert {each.aggregation for each in ablation.curves} == {"min", "prod", "mean", "last", "sum_logits"}
    # All last steps are equally sure: a candidate at random is chosen.
    assert {each.curve.mean[1] for each in ablation.curves if each.aggregation == "last"} == {0.5}


def test_intervals_of_accuracies_stay_between_0_and_1(ablation: Ablation) -> None:
    (eta_0, eta_inf, outcome) = (each.curve for each in ablation.chosen)
    # Problem means 1 and 0: a standard error of 1/2 and one degree of freedom, cut off.
    assert (eta_0.low[1], eta_0.high[1]) == (0.0, 1.0)
    assert (eta_inf.low[1], eta_inf.high[1]) == (0.0, 1.0)
    assert (outcome.low[1], outcome.high[1]) == (0.0, 0.0)


def test_differences_are_paired_by_seed_and_problem(ablation: Ablation) -> None:
    assert set(ablation.differences) == {("eta inf", "eta 0"), ("outcome", "eta 0"), ("outcome", "eta inf")}
    against = ablation.differences["eta inf", "eta 0"]
    # 1 for the second problem with seed 0, else 0. Seed means 1/2, 0, problem means 0, 1/2, mean 1/4; all three mean
    # squares are 1/4, so no component stands out, and the error is sqrt(1/4 / 4) with one degree of freedom.
    assert against.mean == [0.0, 0.25]
    assert against.low[1] == pytest.approx(0.25 - 12.7062 / 4, abs=1e-3)
    assert against.high[1] == pytest.approx(0.25 + 12.7062 / 4, abs=1e-3)


def test_doublings_say_what_twice_as_many_candidates_bring(ablation: Ablation) -> None:
    assert all(curve.n == [2] for curve in ablation.doublings.values())
    assert {name: curve.mean for name, curve in ablation.doublings.items()} == {
        "eta 0": [0.0], "eta inf": [0.25], "outcome": [-0.5]
    }  # fmt: skip


@pytest.fixture
def voted(tmp_path: Path) -> Ablation:
    """Two problems of three candidates, two of them with one answer, and two equal models."""
    rows = [
        '{"question": "1 + 1?", "answer": "2", "candidates": ["a\\n#### 3", "b\\n#### 2", "c\\n#### 2"]}',
        '{"question": "2 + 2?", "answer": "4", "candidates": ["d\\n#### 4", "e\\n#### 5", "f\\n#### 5"]}',
    ]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows), encoding="utf-8")
    model = scores(0.52, 0.5, 0.5, 1.0, 0.55, 0.55)
    graded = grade_pool(read_pool(tmp_path / "pool.jsonl"), "gsm8k", "lines")
    return compare([LabelMethodScores("eta 2", 2.0, [model, model])], graded, "min", votes=True)


def test_votes_are_compared_with_best_of_n(voted: Ablation) -> None:
    # Of all three candidates, best-of-n takes 3 and 4; the weights 0.52 and 2 * 0.5, 1 and 2 * 0.55 elect 2 and 5.
    # The scores' spread is sqrt((0.02^2 + 0.45^2) / 9) = 0.150, eta is 3 / 0.150 = 20: e^(20 * 0.02) = 1.5 < 2 elects
    # 2, and e^(20 * 0.45) > 2 elects 4.
    ((weighted,), (entropic,)) = (voted.votes[vote] for vote in ("weighted_vote", "entropic_vote"))
    assert (weighted.curve.n, entropic.curve.n) == ([1, 2, 3], [1, 2, 3])
    assert [curve.mean[2] for curve in (voted.chosen[0].curve, weighted.curve, entropic.curve)] == [0.5, 0.5, 1.0]
    assert [curve.mean[0] for curve in (weighted.curve, entropic.curve)] == pytest.approx([0.5, 0.5])
    assert (entropic.name, entropic.eta, entropic.aggregation) == ("eta 2", 2.0, "min")
    assert [each[2] for each in entropic.by_seed] == [1.0, 1.0]
    # It gains 1 and 0: a standard error of 1/2, and t of one degree of freedom.
    gain = voted.vote_gains["eta 2"].at(3)
    assert list(gain) == pytest.approx([0.5, 0.5 - 12.7062 / 2, 0.5 + 12.7062 / 2], abs=1e-3)


def test_the_file_and_the_page_have_the_votes(voted: Ablation) -> None:
    content = voted.to_dict()
    assert {vote: [each["accuracy"][2] for each in curves] for vote, curves in content["votes"].items()} == {
        "weighted_vote": [0.5], "entropic_vote": [1.0]
    }  # fmt: skip
    (gain,) = content["vote_gains"]
    assert (gain["name"], gain["n"], gain["difference"][2]) == ("eta 2", [1, 2, 3], 0.5)
    page = ablation_markdown(voted, COSTS, "Two problems.")
    assert "## Accuracy of the weighted vote by min" in page
    assert "## Accuracy of the entropic vote by min" in page
    assert "## Entropic vote minus best-of-n" in page


def test_negative_scores_leave_the_weighted_vote_out(graded: GradedPool) -> None:
    ablation = compare([LabelMethodScores("eta 0", 0.0, [scores(-0.5, 0.1, 0.2, 0.3)])], graded, "min", votes=True)
    assert list(ablation.votes) == ["entropic_vote"]
    assert list(ablation.vote_gains) == ["eta 0"]


def test_the_file_has_what_a_reader_of_version_1_expects(ablation: Ablation) -> None:
    histogram = LabelHistogram()
    histogram.add(np.array([0.0, 0.01, 0.5, 1.0, np.nan], dtype=np.float32))
    runs = [{"name": "eta inf", "labels": "er", "eta": "inf", "seed": 0, "results": "runs/a/results.json"}]
    content = ablation_content(ablation, runs, [histogram_in_json("eta inf", math.inf, histogram)], COSTS, [0, 1])
    assert (content["format"], content["version"], content["runs"]) == ("erprm-ablation", 1, runs)
    assert content["intervals"] == "95%, over seeds and problems"
    assert {key: content["curves"][0][key] for key in ("name", "eta", "aggregation", "n", "accuracy")} == {
        "name": "eta 0", "eta": 0.0, "aggregation": "min", "n": [1, 2], "accuracy": [0.5, 0.5]
    }  # fmt: skip
    assert {each["eta"] for each in content["curves"]} == {0.0, "inf", None}
    (labels,) = content["label_histograms"]
    assert len(labels["edges"]) == len(labels["counts"]) + 1 == LABEL_BINS + 1
    assert (labels["counts"][0], labels["counts"][10], labels["counts"][-1], sum(labels["counts"])) == (2, 1, 1, 4)
    assert (labels["zeros"], labels["ones"]) == (1, 1)
    assert content["costs"][1] == {
        "name": "ER, eta 2", "stage": "training", "seconds": [1.0, 2.0], "cpu_seconds": [3.0, 3.0],
        "peak_bytes": [2**20, 3 * 2**20], "cuda_peak_bytes": [0, 0],
    }  # fmt: skip


def test_the_page_has_accuracies_differences_and_mean_costs(ablation: Ablation) -> None:
    page = ablation_markdown(ablation, COSTS, "Two problems.")
    assert "| eta inf | 50.0 [" in page
    assert "## Difference to eta 0" in page
    assert "| ER, eta 2 | training | 1.50 | 3.00 | 2 | 0 |" in page
    assert "| rollouts | labelling | 60.00 | - | - | - |" in page


def test_figures_are_drawn(ablation: Ablation, tmp_path: Path) -> None:
    draw_ablation(ablation, [histogram_in_json("eta 0", 0.0, LabelHistogram())], tmp_path)
    for name in ("eta.png", "best_of_n.png", "labels.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_negative_score_leaves_the_logits_out(graded: GradedPool) -> None:
    ablation = compare([LabelMethodScores("eta 0", 0.0, [scores(-0.5, 0.1, 0.2, 0.3)])], graded, "mean")
    assert {each.aggregation for each in ablation.curves} == {"min", "prod", "mean", "last"}
    assert ablation.differences == {}


@pytest.mark.parametrize(
    ("eta", "name"), [(0.0, "soft (eta 0)"), (math.inf, "hard (eta inf)"), (-2.0, "ER, eta -2"), (None, "outcome")]
)
def test_ways_of_making_labels_have_the_names_of_the_field(eta: float | None, name: str) -> None:
    assert cost_name(eta) == name
