import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from erprm.cli import main
from erprm.data.records import write_records
from erprm.report.page.content import ablation_histograms, label_histograms, named_folders, page_content
from tests.report.page.example_runs import (
    FOOLED,
    RIGHT,
    SEEING,
    WORSE,
    WRONG,
    problem,
    small_pool,
    write_ablation,
    write_pool_run,
    write_step_run,
)
from tests.tiny import make_record


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs on the same pool."""
    write_pool_run(tmp_path / "fooled", small_pool(), FOOLED)
    write_pool_run(tmp_path / "seeing", small_pool(), SEEING)
    return [str(tmp_path / "fooled"), str(tmp_path / "seeing")]


# What goes together -----------------------------------------------------------------------------------------------


def test_runs_on_the_same_pool_stand_side_by_side(runs: list[str]) -> None:
    (pool,) = page_content(runs)["pools"]
    assert [run["name"] for run in pool["runs"]] == ["fooled", "seeing"]
    assert pool["size"]["candidates"] == 8


def test_runs_on_other_candidates_stand_apart(runs: list[str], tmp_path: Path) -> None:
    write_pool_run(tmp_path / "other", small_pool()[:1], FOOLED[:4])
    assert [len(pool["runs"]) for pool in page_content([*runs, str(tmp_path / "other")])["pools"]] == [2, 1]


def test_two_evaluations_of_a_run_on_one_pool_have_names_that_tell_them_apart(tmp_path: Path) -> None:
    write_pool_run(tmp_path / "run", small_pool(), FOOLED, "one")
    write_pool_run(tmp_path / "run", small_pool(), FOOLED, "two")
    (pool,) = page_content([str(tmp_path / "run")])["pools"]
    assert [run["name"] for run in pool["runs"]] == ["run: one", "run: two"]


def test_the_difference_of_runs_is_that_of_their_best_of_n(runs: list[str]) -> None:
    """With all 4, the second is right on one problem of two, and the first on none; with 1, both are by chance."""
    (difference,) = page_content(runs)["pools"][0]["differences"]
    assert difference["n"] == [1, 2, 4]
    assert difference["mean"][0] == pytest.approx(0)
    # Of the 6 pairs, 5 hold a right one, which the second takes always; the first only without the wrong one: 3.
    assert difference["mean"][1] == pytest.approx((5 / 6 - 3 / 6) / 2)
    assert difference["mean"][2] == pytest.approx(0.5)


def test_a_run_can_be_given_a_name(runs: list[str]) -> None:
    assert [name for name, _ in named_folders([f"first={runs[0]}", runs[1]])] == ["first", "seeing"]


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("eta=2").mkdir()
    assert named_folders(["eta=2"]) == [("eta=2", Path("eta=2"))]


def test_step_labels_of_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    for run in ("a", "b"):
        write_step_run(tmp_path / run, [[0.9, 0.8], [0.3, 0.2], [0.9, 0.1]])
    (data,) = page_content([str(tmp_path / "a"), str(tmp_path / "b")])["steps"]
    assert [run["name"] for run in data["runs"]] == ["a", "b"]
    assert [run["processbench"]["f1"]["mean"] for run in data["runs"]] == [1.0, 1.0]


def test_an_ablation_brings_its_curves_its_costs_and_the_first_seed_of_each_run(tmp_path: Path) -> None:
    names = {"eta 0": FOOLED, "eta 2": SEEING, "eta inf": FOOLED}
    write_ablation(
        tmp_path, {name: write_pool_run(tmp_path / name, small_pool(), scores) for name, scores in names.items()}
    )
    content = page_content([str(tmp_path)])
    assert [run["name"] for run in content["pools"][0]["runs"]] == list(names)
    assert [curve["eta"] for curve in content["ablations"][0][::2]] == [0.0, 2.0, "inf"]
    assert content["labels"] == [
        {
            "name": "the ablation",
            "bins": ["0 to 0.5", "0.5 to 1"],
            "series": [{"name": name, "counts": [3, 5]} for name in names],
        }
    ]
    assert content["costs"][0]["seconds"] == [60.0, 64.0]


# Solutions --------------------------------------------------------------------------------------------------------


def test_copies_of_a_text_are_one_solution_with_the_rank_of_the_best(runs: list[str]) -> None:
    browser = page_content(runs)["pools"][0]["browser"]
    first = browser["problems"][0]
    assert (first["first"], first["count"], first["right"], first["candidates"]) == (0, 3, 2, 4)
    assert ["\n".join(steps) for steps in browser["steps"][:3]] == [WRONG, RIGHT, WORSE]
    assert browser["copies"][:3] == [1, 2, 1]
    assert browser["candidates"][:3] == [0, 1, 3]
    assert browser["correct"][:3] == [False, True, False]
    assert [run["ranks"][:3] for run in browser["runs"]] == [[1, 2, 4], [3, 1, 4]]
    assert browser["runs"][0]["scores"][:3] == pytest.approx([0.8, 0.6, 0.1])
    assert browser["runs"][1]["step_scores"][1] == pytest.approx([0.9, 0.95])


def test_of_too_many_solutions_those_ranked_highest_and_the_best_right_one_stay(tmp_path: Path) -> None:
    """Six candidates to each of two problems, of which the last two are right: ranks 5 and 6."""
    pool = [
        problem(f"p/{p}", f"{p}?", "1", [f"Hm {c}.\nSo.\n#### {2 if c < 4 else 1}" for c in range(6)]) for p in range(2)
    ]
    write_pool_run(tmp_path / "run", pool, [[0.9 - 0.1 * (n % 6), 0.9] for n in range(12)])
    browser = page_content([str(tmp_path / "run")], max_solutions=4)["pools"][0]["browser"]
    assert browser["solutions"] == 12
    assert browser["runs"][0]["ranks"] == [1, 2, 5, 1, 2, 5]
    assert [each["count"] for each in browser["problems"]] == [3, 3]


def test_more_problems_than_solutions_to_keep_keep_the_first_problems(tmp_path: Path) -> None:
    pool = [problem(f"p/{p}", f"{p}?", "1", ["a\na\n#### 2", "b\nb\n#### 3"]) for p in range(5)]
    write_pool_run(tmp_path / "run", pool, [[0.9, 0.8], [0.5, 0.6]] * 5)
    browser = page_content([str(tmp_path / "run")], max_solutions=3)["pools"][0]["browser"]
    assert [each["problem_id"] for each in browser["problems"]] == ["p/0", "p/1", "p/2"]
    assert browser["all_problems"] == 5


def test_no_solutions_are_kept_if_none_are_wanted(runs: list[str]) -> None:
    assert page_content(runs, max_solutions=0)["pools"][0]["browser"] is None


def test_a_candidate_without_steps_keeps_its_text(tmp_path: Path) -> None:
    pool = [problem("p", "?", "1", ["  ", "One.\nSo 1.\n#### 1"])]
    write_pool_run(tmp_path / "run", pool, [[], [0.5, 0.5]])
    browser = page_content([str(tmp_path / "run")])["pools"][0]["browser"]
    assert (browser["steps"][0], browser["texts"], browser["runs"][0]["scores"][0]) == ([], ["  ", None], None)


# Labels -----------------------------------------------------------------------------------------------------------


def test_labels_of_rollouts_are_counted_at_each_eta(tmp_path: Path) -> None:
    """Steps with 1 and 0 of 2 successes, and an outcome of 1: soft labels 0.5, 0 and 1, hard ones 1, 0 and 1."""
    write_records([make_record(0, [[1.0, 0.0], [0.0, 0.0], [1.0]])], tmp_path / "rollouts.parquet")
    (histogram,) = label_histograms([str(tmp_path / "rollouts.parquet")], [0.0, math.inf])
    soft, hard = histogram["series"]
    assert (soft["name"], hard["name"]) == ("eta 0 (soft)", "eta inf (hard)")
    assert histogram["bins"][0] == "exactly 0"
    assert (soft["counts"][0], sum(soft["counts"][1:-1]), soft["counts"][-1]) == (1, 1, 1)
    assert (hard["counts"][0], sum(hard["counts"][1:-1]), hard["counts"][-1]) == (1, 0, 2)


def test_labels_are_read_from_the_file_of_data_stats(tmp_path: Path) -> None:
    labels = [{"eta": "inf", "mean": 0.5, "zeros": 4, "ones": 5, "between": [1, 2]}]
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"data": [{"name": "mine", "labels": labels}], "shared_problems": []}))
    assert label_histograms([str(path)], []) == [
        {
            "name": "mine",
            "bins": ["exactly 0", "0 to 0.5", "0.5 to 1", "exactly 1"],
            "series": [{"name": "eta inf (hard)", "counts": [4, 1, 2, 5]}],
        }
    ]


def test_of_an_ablation_labels_of_exactly_0_and_1_stand_apart_where_they_are_known() -> None:
    histogram = {"name": "eta 2", "edges": [0, 0.5, 1], "counts": [5, 4], "zeros": 3, "ones": 4}
    (found,) = ablation_histograms([histogram])
    assert found["bins"] == ["exactly 0", "0 to 0.5", "0.5 to 1", "exactly 1"]
    assert found["series"] == [{"name": "eta 2", "counts": [3, 2, 0, 4]}]


# Bad input --------------------------------------------------------------------------------------------------------


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["report", *arguments])
    return status, capsys.readouterr().err


def test_a_folder_without_results_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    status, message = run_command(capsys, "empty")
    assert status == 1
    assert "'empty' holds no results.json" in message
    status, message = run_command(capsys, "nowhere")
    assert status == 1
    assert "'nowhere' is not a folder" in message
    assert not Path("report.html").exists()


def change_results(path: Path, **changes: Any) -> None:
    results = json.loads((path / "results.json").read_text())
    results.update(changes)
    (path / "results.json").write_text(json.dumps({key: value for key, value in results.items() if value is not ...}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"methods": ...}, "'methods' missing or of another type; this is not what version"),
        ({"groups": [1]}, "'groups' missing or of another type"),
        ({"methods": {"bon_min": {"n": [1, 2], "mean": [0.5], "low": [0.5], "high": [0.5]}}}, "methods.bon_min is no"),
        ({"determined_by": {"versions": {"erprm": "0.0.3"}}}, "written by: 0.0.3"),
        ({"reward_hacking": {"accuracy": 3}}, "reward_hacking.accuracy is not a curve"),
        ({"entropic_vote": {"curves": []}}, "entropic_vote.curves[0] is not a curve"),
        ({"threshold": {}, "data": {"a": {}}}, "'processbench', 'sweep' missing"),
    ],
)
def test_results_of_another_version_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], complaint: str
) -> None:
    folder = write_pool_run(tmp_path / "run", small_pool(), FOOLED)
    change_results(folder, **changes)
    status, message = run_command(capsys, str(tmp_path / "run"))
    assert status == 1
    assert str(folder / "results.json") in message
    assert complaint in message


def test_results_from_before_the_entropic_vote_are_shown_without_it(tmp_path: Path) -> None:
    change_results(write_pool_run(tmp_path / "run", small_pool(), FOOLED), entropic_vote=...)
    (pool,) = page_content([str(tmp_path / "run")])["pools"]
    assert pool["runs"][0]["vote"] is None


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is not readable JSON"), ("[1]", "holds a list"), ("\xff", "is not readable JSON")]
)
def test_results_that_cannot_be_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    folder = write_pool_run(tmp_path / "run", small_pool(), FOOLED)
    (folder / "results.json").write_bytes(text.encode("latin-1"))
    status, message = run_command(capsys, str(tmp_path / "run"))
    assert status == 1
    assert str(folder / "results.json") in message
    assert complaint in message


def test_broken_candidates_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_pool_run(tmp_path / "run", small_pool(), FOOLED) / "candidates.parquet"
    whole = pq.read_table(file)
    file.write_bytes(random.Random(0).randbytes(400))
    assert f"{file}: is not a readable Parquet file" in run_command(capsys, str(tmp_path / "run"))[1]
    pq.write_table(whole.drop_columns(["rank"]), file)
    assert f"{file}: column(s) rank missing" in run_command(capsys, str(tmp_path / "run"))[1]
    pq.write_table(whole.slice(0, 5), file)
    assert (
        f"{file}: holds 5 candidates, the results beside it are of 8" in run_command(capsys, str(tmp_path / "run"))[1]
    )


def test_without_candidates_the_page_has_the_rest_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_pool_run(tmp_path / "run", small_pool(), FOOLED) / "candidates.parquet"
    file.unlink()
    status, message = run_command(capsys, str(tmp_path / "run"), "--out", str(tmp_path / "page.html"))
    assert status == 0
    assert f"{file} is not there" in message
    assert (tmp_path / "page.html").exists()


def test_an_ablation_of_another_version_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ablation.json").write_text('{"format": "erprm-ablation", "version": 2}')
    assert "is of format 'erprm-ablation', version 2; expected" in run_command(capsys, str(tmp_path))[1]


def test_results_that_an_ablation_names_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ablation(tmp_path, {"eta 2": tmp_path / "gone"})
    status, message = run_command(capsys, str(tmp_path))
    assert status == 1
    assert str(tmp_path / "gone" / "results.json") in message


def test_two_runs_of_one_name_are_refused(runs: list[str]) -> None:
    with pytest.raises(ValueError, match="2 runs are called 'a'"):
        named_folders([f"a={runs[0]}", f"a={runs[1]}"])
