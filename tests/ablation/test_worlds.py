"""``worlds`` of ``erprm ablate``: settings of each world, and what all of them say, reckoned by hand."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from erprm.ablation.ablate import ablate
from erprm.ablation.config import AblateConfig, in_world
from erprm.ablation.report import draw_ablation
from erprm.ablation.results import Ablation, CostRow, MethodCurve
from erprm.ablation.runs import AblationFolder, Run, RunError, resolved_fit
from erprm.ablation.worlds import costs_of_worlds, over_worlds
from erprm.data.pools import read_pool
from erprm.engines.prompts import PromptFormat
from erprm.metrics.estimate import Curve
from erprm.report.page.run_folders import read_run
from erprm.rollout.pools import PoolSampling
from erprm.runs.lock import sole_use
from tests.report.page.example_runs import write_pool_run

T_OF_ONE_DEGREE, T_OF_TWO_DEGREES = 12.7062, 4.3027


def curve(n: Sequence[int], *mean: float) -> Curve:
    """A curve of one world; the intervals within it do not matter."""
    return Curve(list(n), list(mean), [0.0] * len(mean), [1.0] * len(mean))


def world(soft: float, hard: float, vote: float, n: Sequence[int] = (1, 2)) -> Ablation:
    """A world in which nothing but accuracies at n = 2 differs from other worlds'."""
    further = [0.9] * (len(n) - 2)

    def of_method(name: str, eta: float, at_2: float) -> MethodCurve:
        return MethodCurve(name, eta, "min", curve(n, 0.5, at_2, *further), [])

    return Ablation(
        [of_method("eta 0", 0.0, soft), of_method("eta inf", math.inf, hard)],
        {("eta inf", "eta 0"): curve(n, 0.0, hard - soft, *further)},
        {"eta 0": curve(n[1:], soft - 0.5, *further)},
        {"majority": curve(n, 0.5, soft, *further)},
        "min",
        "problems of one seed",
        {"entropic_vote": [of_method("eta 0", 0.0, vote)]},
        {"eta 0": curve(n, 0.0, vote - soft, *further)},
    )


def test_of_two_worlds_means_have_intervals_of_one_degree_of_freedom() -> None:
    both = over_worlds([world(0.4, 0.3, 0.5), world(0.6, 0.3, 0.6)])
    soft, hard = both.chosen
    # 0.4 and 0.6: a standard deviation of 0.1 * sqrt(2), a standard error of 0.1. It reaches below 0 and above 1.
    assert soft.curve.at(2).mean == pytest.approx(0.5)
    assert (soft.curve.low[1], soft.curve.high[1]) == (0.0, 1.0)
    assert soft.by_world == [[0.5, 0.4], [0.5, 0.6]]
    assert list(hard.curve.at(2)) == pytest.approx([0.3, 0.3, 0.3])
    half = T_OF_ONE_DEGREE * 0.1
    assert list(both.differences["eta inf", "eta 0"].at(2)) == pytest.approx([-0.2, -0.2 - half, -0.2 + half], abs=1e-4)
    assert list(both.doublings["eta 0"].at(2)) == pytest.approx([0.0, -half, half], abs=1e-4)
    # The vote gains 0.1 and 0: a standard error of 0.05.
    assert list(both.vote_gains["eta 0"].at(2)) == pytest.approx([0.05, 0.05 - half / 2, 0.05 + half / 2], abs=1e-4)
    assert both.votes["entropic_vote"][0].curve.mean == pytest.approx([0.5, 0.55])
    assert both.pool["majority"].mean == pytest.approx([0.5, 0.5])
    assert both.intervals_over == "worlds"


def test_of_three_worlds_intervals_are_of_two_degrees_of_freedom() -> None:
    all_three = over_worlds([world(0.4, 0.4, 0.4), world(0.5, 0.4, 0.5), world(0.6, 0.4, 0.6)])
    half = T_OF_TWO_DEGREES * 0.1 / 3**0.5
    assert list(all_three.chosen[0].curve.at(2)) == pytest.approx([0.5, 0.5 - half, 0.5 + half], abs=1e-4)
    assert list(all_three.pool["majority"].at(2)) == pytest.approx([0.5, 0.5 - half, 0.5 + half], abs=1e-4)
    difference = all_three.differences["eta inf", "eta 0"].at(2)
    assert list(difference) == pytest.approx([-0.1, -0.1 - half, -0.1 + half], abs=1e-4)


def test_what_one_world_does_not_have_is_left_out() -> None:
    longer = world(0.6, 0.3, 0.6, (1, 2, 4))
    longer.votes["weighted_vote"] = longer.votes["entropic_vote"]
    both = over_worlds([longer, world(0.4, 0.3, 0.5)])
    assert {tuple(each.curve.n) for each in both.curves} == {(1, 2)}
    assert (both.doublings["eta 0"].n, both.pool["majority"].n) == ([2], [1, 2])
    assert list(both.votes) == ["entropic_vote"]


def test_costs_of_worlds_stand_in_one_row_for_each_stage() -> None:
    rollouts = CostRow("rollouts", "labelling", [9.0], [None], [None], [None])
    one = [CostRow("outcome", "training", [1.0], [2.0], [3], [0]), rollouts]
    other = [CostRow("outcome", "training", [5.0], [6.0], [7], [0])]
    both = CostRow("outcome", "training", [1.0, 5.0], [2.0, 6.0], [3, 7], [0, 0])
    assert costs_of_worlds([one, other]) == [both, rollouts]


def test_the_number_of_a_world_stands_in_all_texts_of_its_settings() -> None:
    resolved = {"data": {"rollouts": ["w/{world}/a", "b"], "eta": 2.0, "labels": None}, "tag": " +"}
    assert in_world(resolved, 3) == {"data": {"rollouts": ["w/3/a", "b"], "eta": 2.0, "labels": None}, "tag": " +"}
    sampled = PoolSampling("w/{world}/policy", path="w/{world}/test.jsonl", prompt=PromptFormat("{question}\n"))
    config = AblateConfig("fit.yaml", sampled, "out", gold="w/{world}/gold.jsonl", worlds=2)
    expected = PoolSampling("w/1/policy", path="w/1/test.jsonl", prompt=PromptFormat("{question}\n"))
    assert config.of_world(1) == AblateConfig("fit.yaml", expected, str(Path("out/world-1")), gold="w/1/gold.jsonl")
    # One world is the first, in the folder itself.
    assert AblateConfig("fit.yaml", "w/{world}/pool.jsonl").of_world(0) == AblateConfig("fit.yaml", "w/0/pool.jsonl")


def test_a_fit_takes_the_number_of_a_world_in_its_file_and_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "fit.yaml"
    file.write_text(
        "model: {backbone: base}\ndata: {rollouts: 'w/{world}/rollouts', max_tokens: 600}\n", encoding="utf-8"
    )
    resolved = in_world(resolved_fit(["--config", str(file), "--model.backbone", "w/{world}/base"]), 4)
    assert resolved["data"]["init_args"]["rollouts"] == "w/4/rollouts"
    assert resolved["model"]["init_args"]["backbone"] == "w/4/base"


def test_figures_of_worlds_are_drawn(tmp_path: Path) -> None:
    draw_ablation(over_worlds([world(0.4, 0.3, 0.5), world(0.6, 0.3, 0.6)]), [], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"eta.png", "best_of_n.png"}


# Whether the first candidate, the right one, of each of two problems scores higher: by world and kind of label.
RIGHT_IS_HIGHER = {
    (0, "eta 0"): (True, True), (0, "outcome"): (True, False),
    (1, "eta 0"): (True, False), (1, "outcome"): (False, True),
    (2, "eta 0"): (True, True), (2, "outcome"): (False, False),
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three worlds in the working folder, and models that score by ``RIGHT_IS_HIGHER``; the names of those made."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        folder = tmp_path / f"worlds/{number}"
        (folder / "base").mkdir(parents=True)
        (folder / "base/config.json").write_text(f'{{"seed": {number}}}', encoding="utf-8")
        rows = [
            {"question": f"{number} + {add}?", "answer": "1", "candidates": ["one\n#### 1", "two\n#### 2"]}
            for add in range(2)
        ]
        (folder / "pool.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = {"class_path": "Own", "init_args": {"labels": "er", "eta": 1.0, "seed": 0}}
    model = {"class_path": "M", "init_args": {"backbone": "worlds/{world}/base"}}
    resolved: dict[str, Any] = {"trainer": {"callbacks": []}, "model": model, "data": data}
    monkeypatch.setattr("erprm.ablation.ablate.resolved_fit", lambda arguments: resolved)
    names: list[str] = []

    def make(folder: AblationFolder, run: Run) -> bool:
        if run.is_done:
            return False
        number = int(folder.path.name.removeprefix("world-"))
        name = f"world {number}, {run.name}"
        if Path(f"no {name}").exists():
            raise RunError(f"no {name}")
        names.append(name)
        scores = [
            [score, 1.0]
            for is_higher in RIGHT_IS_HIGHER[number, run.method.name]
            for score in ((0.9, 0.1) if is_higher else (0.1, 0.9))
        ]
        write_pool_run(run.folder, read_pool(f"worlds/{number}/pool.jsonl"), scores, "pool")
        cost = {"seconds": 1.0 + number, "cpu_seconds": 1.0, "peak_bytes": 1, "cuda_peak_bytes": 0}
        for stage in ("training", "scoring"):
            (run.folder / f"{stage}.json").write_text(json.dumps(cost), encoding="utf-8")
        return True

    monkeypatch.setattr(AblationFolder, "make", make)
    monkeypatch.setattr("erprm.ablation.ablate.draw_ablation", lambda ablation, histograms, folder: None)
    return names


def run_worlds(worlds: int, pool: str = "worlds/{world}/pool.jsonl", **settings: Any) -> dict[str, Any]:
    config = AblateConfig("fit.yaml", pool, "out", etas="0", seeds=1, kind="gsm8k", worlds=worlds, **settings)
    ablate(config, [], Console(quiet=True))
    content: dict[str, Any] = json.loads(Path("out/ablation.json").read_text(encoding="utf-8"))
    return content


def test_worlds_are_compared_and_more_of_them_add_to_the_folder(made: list[str]) -> None:
    content = run_worlds(2)
    assert made == [f"world {number}, {name}, seed 0" for number in (0, 1) for name in ("eta 0", "outcome")]
    assert (content["worlds"], content["seeds"], content["intervals"]) == ([0, 1], [0], "95%, over worlds")
    # Outcome minus eta 0 is 1/2 - 1 in one world and 1/2 - 1/2 in the other.
    (difference,) = content["differences"]
    assert (difference["name"], difference["baseline"], difference["n"]) == ("outcome", "eta 0", [1, 2])
    assert difference["difference"][1] == -0.25
    assert difference["high"][1] == pytest.approx(-0.25 + T_OF_ONE_DEGREE * 0.25, abs=1e-3)

    content = run_worlds(3)
    assert made[4:] == ["world 2, eta 0, seed 0", "world 2, outcome, seed 0"]
    # -1/2, 0 and -1: a standard deviation of 1/2.
    (difference,) = content["differences"]
    assert difference["difference"][1] == -0.5
    assert difference["low"][1] == pytest.approx(-0.5 - T_OF_TWO_DEGREES * 0.5 / 3**0.5, abs=1e-3)
    (soft, _) = (each for each in content["curves"] if each["aggregation"] == "min")
    assert soft["by_world"] == [[0.5, 1.0], [0.5, 0.5], [0.5, 1.0]]
    assert "by_seed" not in soft
    training = next(cost for cost in content["costs"] if cost["name"] == "outcome" and cost["stage"] == "training")
    assert training["seconds"] == [1.0, 2.0, 3.0]
    assert [(run["world"], run["results"]) for run in content["runs"]][-1] == (
        2, "world-2/runs/outcome_seed-0/best_of_n/pool/results.json"
    )  # fmt: skip
    page = Path("out/ablation.md").read_text(encoding="utf-8")
    assert "Means over the worlds 0, 1, 2, seeds 0. Intervals are 95%, over worlds." in page
    assert "## Accuracy of the entropic vote by min" in page
    of_world = json.loads(Path("out/world-0/ablation.json").read_text(encoding="utf-8"))
    assert "worlds" not in of_world
    assert of_world["intervals"] == "95%, over problems of one seed"


def test_the_report_page_reads_an_ablation_over_worlds(made: list[str]) -> None:
    run_worlds(2)
    content = read_run("worlds", Path("out"))
    assert [each.run for each in content.evaluations] == ["eta 0", "outcome"]
    assert content.ablation is not None
    assert content.ablation["worlds"] == [0, 1]
    assert len(made) == 4


def test_worlds_that_nothing_tells_apart_are_refused(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fit = {"trainer": {"callbacks": []}, "model": {"init_args": {"backbone": "base"}}, "data": {"init_args": {}}}
    monkeypatch.setattr("erprm.ablation.ablate.resolved_fit", lambda arguments: fit)
    with pytest.raises(ValueError, match=r"worlds is 3, but \{world\} is neither in fit nor in pool; .* --fit\.data"):
        run_worlds(3, "pool.jsonl", gold="gold-{world}.jsonl")
    assert made == []
    assert not Path("out").exists()


def test_a_world_that_cannot_be_read_ends_the_command_before_anything_is_trained(made: list[str]) -> None:
    Path("worlds/2/pool.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"worlds/2/pool\.jsonl"):
        run_worlds(3)
    assert made == []
    assert not Path("out").exists()


def test_a_world_with_a_failed_run_leaves_the_others_to_be_compared(made: list[str]) -> None:
    for name in ("eta 0", "outcome"):
        Path(f"no world 1, {name}, seed 0").touch()
    message = r"runs of 1 of 3 worlds failed; nothing is said about the worlds \[1\]; the same command tries them again"
    with pytest.raises(RunError, match=message):
        run_worlds(3)
    content = json.loads(Path("out/ablation.json").read_text(encoding="utf-8"))
    assert content["worlds"] == [0, 2]
    # -1/2 and -1.
    assert content["differences"][0]["difference"][1] == -0.75
    for file in Path().glob("no *"):
        file.unlink()
    assert run_worlds(3)["worlds"] == [0, 1, 2]
    assert len(made) == 6


def test_where_the_very_first_run_fails_no_other_world_is_tried(made: list[str]) -> None:
    Path("no world 0, eta 0, seed 0").touch()
    with pytest.raises(RunError, match="no world 0, eta 0, seed 0"):
        run_worlds(2)
    assert made == []


def test_one_process_at_a_time_and_one_ablation_a_folder(made: list[str]) -> None:
    with sole_use(Path("out")), pytest.raises(ValueError, match="out is in use by process"):
        run_worlds(2)
    run_worlds(2)
    with pytest.raises(ValueError, match=r"evaluation\.limit: None there, 1 now"):
        run_worlds(2, limit=1)
    with pytest.raises(ValueError, match=r"worlds: 'one in each world-\{world\}' there, None now"):
        run_worlds(1)
    assert len(made) == 4
