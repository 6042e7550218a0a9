import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erprm.data.sources import Problem
from erprm.raft.config import RaftConfig
from erprm.raft.selectors import OracleSelector, RandomSelector, RewardModelSelector, SelectionError, keep_best
from erprm.raft.solutions import SampledProblem
from erprm.raft.stages import KEPT_FILE, select_solutions
from erprm.runs.atomic import write_json_lines
from erprm.steps import Solution

ENDED = [True] * 4


def test_the_best_comes_first_and_of_equals_the_one_sampled_first() -> None:
    assert keep_best([0.1, 0.7, 0.9, 0.9], ["a", "b", "c", "d"], ENDED) == [2]
    assert keep_best([0.1, 0.7, 0.9, 0.9], ["a", "b", "c", "d"], ENDED, top_k=3) == [2, 3, 1]


def test_equal_texts_are_kept_once_unless_asked_for() -> None:
    texts = ["a", "b", "a", "c"]
    assert keep_best([0.9, 0.8, 0.9, 0.7], texts, ENDED, top_k=2) == [0, 1]
    assert keep_best([0.9, 0.8, 0.9, 0.7], texts, ENDED, top_k=2, deduplicate=False) == [0, 2]


def test_a_threshold_keeps_what_reaches_it() -> None:
    assert keep_best([0.5, 0.4, 0.8, 0.1], list("abcd"), ENDED, top_k=4, threshold=0.5) == [2, 0]
    assert keep_best([0.5, 0.4, 0.8, 0.1], list("abcd"), ENDED, threshold=0.81) == []


def test_what_was_cut_off_or_is_blank_or_unreadable_is_never_kept() -> None:
    assert keep_best([0.9, 0.8, 0.1, 0.2], ["a", " \n", "c", "d"], [False, True, True, True]) == [3]
    assert keep_best([-math.inf, -3.0], ["a", "b"], [True, True], top_k=2) == [1]


def sampled(number: int, *candidates: str, answer: str = "8") -> SampledProblem:
    count = len(candidates)
    problem = Problem(f"p/{number}", f"question {number}", answer, "test")
    return SampledProblem(problem, [1], list(candidates), [[2]] * count, [True] * count)


class LengthScorer:
    """A tenth for each character of a step; keeps what it was asked, and does not read a long step."""

    def __init__(self) -> None:
        self.asked: list[Solution] = []

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        for solution in solutions:
            if any(len(step) > 9 for step in solution.steps):
                raise ValueError(f"the solution of {solution.question!r} is too long")
        self.asked += solutions
        return [torch.tensor([len(step) / 10 for step in solution.steps]) for solution in solutions]


def test_a_candidate_has_the_aggregated_score_of_its_steps() -> None:
    problems = [sampled(0, "abc\nab", "a\nabcdefghi"), sampled(1, "abcd\nabcdef")]
    for aggregation, expected in (("min", [[0.2, 0.1], [0.4]]), ("mean", [[0.25, 0.5], [0.5]])):
        scores = RewardModelSelector(LengthScorer(), "lines", aggregation).scores(problems)
        assert [pytest.approx(of_problem) for of_problem in scores] == expected


def test_equal_texts_of_a_question_are_scored_once() -> None:
    scorer = LengthScorer()
    scores = RewardModelSelector(scorer, "lines", "min").scores([sampled(0, "a\nb", "a\nb"), sampled(1, "a\nb")])
    assert [pytest.approx(of_problem) for of_problem in scores] == [[0.1, 0.1], [0.1]]
    assert [(solution.question, list(solution.steps)) for solution in scorer.asked] == [
        ("question 0", ["a", "b"]),
        ("question 1", ["a", "b"]),
    ]


def test_a_candidate_that_cannot_be_read_or_has_no_step_is_never_kept_and_costs_no_other_its_score() -> None:
    scores = RewardModelSelector(LengthScorer(), "lines", "min").scores([sampled(0, "ab\nabcdefghij", "ab\nabc", " ")])
    assert scores == [[-math.inf, pytest.approx(0.2), -math.inf]]
    assert RewardModelSelector(LengthScorer(), "lines", "min").scores([sampled(0, " ")]) == [[-math.inf]]
    with pytest.raises(SelectionError, match=r"none of 2 solution\(s\) can be scored; the solution of 'question 0' is"):
        RewardModelSelector(LengthScorer(), "lines", "min").scores([sampled(0, "a\nabcdefghij", "b\nabcdefghij")])


def test_a_policy_that_writes_its_steps_in_another_format_is_told_so() -> None:
    complaint = (
        r"style is 'math_shepherd', in which none of 2 solution\(s\) has more than one step, though they have several "
        r"lines: .* A solution begins 'ab\\nabc'; choose the style in which the policy writes"
    )
    with pytest.raises(SelectionError, match=complaint):
        RewardModelSelector(LengthScorer(), "math_shepherd", "min").scores([sampled(0, "ab\nabc", "b")])
    # Solutions of one line say nothing about the format.
    assert RewardModelSelector(LengthScorer(), "lines", "min").scores([sampled(0, "ab")]) == [[pytest.approx(0.2)]]


def test_a_scorer_that_returns_too_few_scores_is_named() -> None:
    class Forgetful:
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [torch.ones(len(solution.steps) - 1) for solution in solutions]

    with pytest.raises(ValueError, match="score_steps returned 1 scores for the 2 steps of a solution of 'question 0'"):
        RewardModelSelector(Forgetful(), "lines", "min").scores([sampled(0, "a\nb", "c\nd")])


def test_a_score_that_is_no_number_is_named() -> None:
    class Confused:
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [torch.full((len(solution.steps),), torch.nan) for solution in solutions]

    with pytest.raises(ValueError, match="score_steps returned NaN for a step of a solution of 'question 0'"):
        RewardModelSelector(Confused(), "lines", "min").scores([sampled(0, "a\nb")])


def test_chance_depends_on_seed_problem_and_place_alone() -> None:
    one, other = sampled(0, "a", "b"), sampled(1, "a", "b")
    scores = RandomSelector(0).scores([one, other])
    assert RandomSelector(0).scores([other]) == scores[1:]
    assert RandomSelector(1).scores([one]) != scores[:1]
    assert len({score for of_problem in scores for score in of_problem}) == 4


def test_the_oracle_keeps_right_candidates_alone() -> None:
    def grader(prediction: str, gold: str) -> float:
        return {"8": 1.0, "7": 0.6}.get(prediction, 0.0) if gold == "8" else 0.0

    problems = [sampled(0, "8", "7", "6"), sampled(1, "8", answer="9")]
    assert OracleSelector(grader, "auto", 0.5).scores(problems) == [[1.0, 0.6, -math.inf], [-math.inf]]
    assert OracleSelector(grader, "auto", 0.7).scores(problems) == [[1.0, -math.inf, -math.inf], [-math.inf]]


def test_a_vote_keeps_the_best_solutions_of_the_answer_that_wins(tmp_path: Path) -> None:
    solutions = sampled(0, *(f"so\n#### {answer}" for answer in (8, 9, 9, 9)))
    solutions.finished[3] = False
    for folder in ("samples", "scores"):
        (tmp_path / folder).mkdir()
    write_json_lines([solutions.as_row()], tmp_path / "samples/part-00000.jsonl")
    scores = {"problem_id": "p/0", "scores": [0.9, 0.5, 0.6, 0.8]}
    write_json_lines([scores], tmp_path / "scores/part-00000.jsonl")

    def kept(**settings: Any) -> list[float]:
        config = RaftConfig(model="m", output_dir="out", scorers={"er": "prm"}, deduplicate=False, **settings)
        select_solutions(config, 1, tmp_path / "samples", tmp_path / "scores", tmp_path)
        return [json.loads(line)["score"] for line in (tmp_path / KEPT_FILE).read_text().splitlines()]

    # The one that was cut off neither votes nor is kept: two votes for 9 against one for 8.
    assert kept() == [0.9]
    assert kept(select="majority", top_k=4) == [0.6, 0.5]
    assert kept(select="weighted_vote", top_k=1) == [0.6]
    # exp(-0.3 eta) + exp(-0.4 eta) is above 1 at eta 1.9, and below it at 2.1.
    assert kept(select="entropic_vote", vote_eta=1.9) == [0.6]
    assert kept(select="entropic_vote", vote_eta=2.1) == [0.9]
