import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.report.candidates import read_scored_pool
from tests.report.page.example_runs import SEEING, problem, small_pool, write_pool_run


def test_the_choice_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # One right candidate of score 0.9 and two wrong ones of 0.5 that agree: the vote is right where e^(0.4 eta) > 2.
    texts = [f"So it is {n}.\n#### {n}" for n in (4, 5, 5)]
    pool = [problem(f"sum/{number}", f"What is 2 and 2 ({number})?", "4", texts) for number in range(4)]
    folder = write_pool_run(tmp_path / "run", pool, [[0.9, 0.9], [0.5, 0.5], [0.5, 0.5]] * 4)
    out = tmp_path / "choice.json"
    arguments = ["--etas", "[0, 1, 2, 5]", "--aggregations", "[min]", "--folds", "2", "--out", str(out)]
    assert main(["choose-eta", str(folder), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "--vote_eta 2 --aggregation min" in shown
    assert "no difference" in shown  # beside best-of-n
    choice = json.loads(out.read_text())
    assert choice["vote"] == {"aggregation": "min", "eta": 2.0}
    assert choice["accuracy"]["mean"] == 1.0
    assert choice["gains"]["majority"]["mean"] == 1.0
    assert choice["gains"]["bon"]["mean"] == 0.0


def test_candidates_are_read_as_they_were_graded_and_scored(tmp_path: Path) -> None:
    pool, scores = read_scored_pool(write_pool_run(tmp_path / "run", small_pool(), SEEING))
    assert pool.correct_PN.tolist() == [[False, True, True, False], [False] * 4]
    assert pool.answers_PN[0, 1] == pool.answers_PN[0, 2] != pool.answers_PN[0, 0]
    assert pool.texts_PN[0, 1] == pool.texts_PN[0, 2] != pool.texts_PN[0, 0]
    assert scores["min"].flatten().tolist() == pytest.approx([0.1, 0.9, 0.9, 0.1, 0.4, 0.3, 0.2, 0.1])


def test_what_cannot_be_read_or_chosen_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose-eta", str(tmp_path)]) == 1
    assert "holds no results.json; expected a folder best_of_n/NAME" in capsys.readouterr().err
    folder = write_pool_run(tmp_path / "run", small_pool(), SEEING)
    with pytest.raises(SystemExit, match="2"):
        main(["choose-eta", str(folder), "--aggregations", "[mni]"])
    assert "'mni' is not among those that the scores allow: min, " in capsys.readouterr().err
    results = folder / "results.json"
    for arguments, message in [
        (["--out", str(results)], "results.json: is the input; give the output another name"),
        (["--folds", "3"], "folds is 3; it must be at least 2, and at most 2, the number of problems"),
        (["--n", "9"], "n is 9; it must be at least 1, and at most 4"),
    ]:
        assert main(["choose-eta", str(folder), *arguments]) == 1
        assert message in " ".join(capsys.readouterr().err.split())
