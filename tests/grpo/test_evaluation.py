"""The evaluation of a policy, by hand."""

import json
from pathlib import Path

import pytest
import torch

from erprm.data.pools import PoolProblem, grade_pool
from erprm.data.sources import Problem
from erprm.grpo.evaluation import PolicyEvaluation, evaluation_of, evaluations_table, hacking_figure


def evaluation(step: int = 0, scores: list[list[float]] | None = None) -> PolicyEvaluation:
    """One problem with 2 solutions of which the first is right, one with 2 wrong ones; 1, 1, 2 and 2 steps.

    An answer line is part of the step before.
    """
    pool = [
        PoolProblem(Problem("a", "3 + 4?", "7", "t"), ("#### 7", "so\n#### 8"), ("stop", "stop")),
        PoolProblem(Problem("b", "3 + 5?", "8", "t"), ("so\nthen\n#### 9", "so\nthen\n#### 1"), ("stop", "length")),
    ]
    graded = grade_pool(pool, "gsm8k", "lines")
    scores_PN = torch.tensor(scores or [[0.9, 0.1], [0.4, 0.0]])
    return evaluation_of(step, graded, scores_PN, [[0.5, 1.5], [2.0, 4.0]])


def test_accuracy_score_and_their_difference_by_hand() -> None:
    found = evaluation()
    assert (found.problems, found.samples, found.best_of_n.n) == (2, 2, [1, 2])
    assert found.best_of_n.mean == pytest.approx([0.25, 0.5])
    # One of 2: the mean of 0.9, 0.1, 0.4 and 0. The best of 2: 0.9 and 0.4.
    assert found.score.mean == pytest.approx([0.35, 0.65])
    assert found.gap.mean == pytest.approx([0.10, 0.15])
    assert found.majority.mean == pytest.approx([0.25, 0.25])
    assert (found.steps, found.cut_off) == (1.5, 0.25)
    # Means of the two problems: 1 and 3.
    assert found.kl == pytest.approx(2.0)
    assert found.kl_standard_error == pytest.approx(1.0)


def test_a_line_of_the_file_is_read_back() -> None:
    found = evaluation(7)
    assert PolicyEvaluation.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_the_table_and_the_figure_set_accuracy_against_score(tmp_path: Path) -> None:
    evaluations = [evaluation(), evaluation(20, [[0.1, 0.9], [0.8, 0.8]])]
    table = evaluations_table(evaluations)
    assert [row[0] for row in table.rows] == ["0 (initial policy)", "20"]
    assert [row[1].split()[0] for row in table.rows] == ["25.0", "25.0"]
    assert [row[2].split()[0] for row in table.rows] == ["50.0", "0.0"]
    assert [row[4].split()[0] for row in table.rows] == ["35.0", "65.0"]
    assert table.rows[0][6:] == ["1.5", "2.00 \u00b1 1.00"]
    assert table.footnote == "highest pass@1 after 0 steps; the last policy is 0.0 points below it"
    pytest.importorskip("matplotlib")
    hacking_figure(evaluations, tmp_path / "hacking.png")
    assert (tmp_path / "hacking.png").read_bytes()[:4] == b"\x89PNG"
