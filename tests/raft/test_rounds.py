import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from erprm.cli import main
from erprm.data.policy import PolicySample
from erprm.engines.transformers import TransformersEngine
from erprm.models.backbone.loading import load_causal_lm
from erprm.raft import ProblemSet, run_raft
from erprm.raft.evaluation import Evaluation
from erprm.raft.log_probs import solution_log_probs
from erprm.raft.selectors import SelectionError
from erprm.raft.solutions import SampledProblem, read_rows, read_solutions
from erprm.raft.stages import read_evaluation
from erprm.runs.folder import OutputFolderError
from erprm.steps import StepFormat, split_steps
from tests.raft.sums import SCORER, is_right, make_config


def sft(arguments: Sequence[str], log_file: Path) -> None:
    """``erprm sft`` in this process, which spares the tests the start of another."""
    assert main(arguments) == 0


def run(folder: Path, output: str, **changes: Any) -> list[Evaluation]:
    return run_raft(make_config(folder, output, **changes), Console(file=io.StringIO()), sft)


def files(folder: Path) -> dict[str, int]:
    """When each file of what is done was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("results.json", "best.json") and "/." not in str(path)
    }


@pytest.fixture(scope="module")
def finished(world: Path) -> tuple[Path, list[Evaluation]]:
    return world / "finished", run(world, "finished", keep_rounds=2)


def test_a_policy_that_learns_from_what_a_checker_chooses_gets_better(finished: Any) -> None:
    folder, evaluations = finished
    assert [each.round for each in evaluations] == [0, 1, 2]
    initial, _, last = evaluations
    # At first the most likely solution forgets the second sum, and a third of 160 samples is right; in the end some 0.9
    # are. The standard errors of both are at most 0.04.
    assert initial.greedy.mean < 0.5 < 0.75 < last.greedy.mean
    assert last.pass_at_1.mean > initial.pass_at_1.mean + 0.25
    assert initial.kl == 0.0
    # To do always what was done one time in three is ln 3 = 1.1 nats away; the standard error is some 0.1.
    assert last.kl > 4 * last.kl_standard_error > 0.0
    assert json.loads((folder / "results.json").read_text()) == [each.as_json() for each in evaluations]


def test_what_is_learned_are_the_tokens_that_were_sampled_of_the_best_solution(finished: Any) -> None:
    folder, _ = finished
    sampled = {each.problem.problem_id: each for each in read_solutions(folder / "round-1/samples")}
    kept = list(read_rows(folder / "round-1/selected"))
    assert len({row["problem_id"] for row in kept}) == len(kept) <= len(sampled) == 24
    for row in kept:
        problem = sampled[row["problem_id"]]
        place = problem.candidates.index(row["text"])
        assert (row["prompt"], row["completion"]) == (problem.prompt_ids, problem.token_ids[place])
        assert problem.finished[place]
        # The smallest of the steps' scores: 1 if all sums are right.
        question = problem.problem.question
        steps = [split_steps(text, "lines") for text in problem.candidates]
        rights = [all(is_right(question, at, step) for at, step in enumerate(of_text)) for of_text in steps]
        assert row["score"] == float(rights[place])
        assert rights[place] or not any(rights)
    # One of 192 solutions at least is right, and one is wrong: otherwise there was nothing to choose.
    scores = [score for row in read_rows(folder / "round-1/scores") for score in row["scores"] if score is not None]
    assert set(scores) == {0.0, 1.0}


def test_each_round_goes_on_from_the_policy_of_the_one_before_and_samples_from_it(finished: Any) -> None:
    folder, _ = finished
    settings = json.loads((folder / "round-2/policy/sft.json").read_text())
    assert settings["model"]["backbone"] == str(folder / "round-1/policy")
    assert settings["model"]["optimizer"]["init_args"]["lr"] == pytest.approx(1.5e-4)
    assert not (folder / "round-2/policy/training").exists()
    one, other = (load_file(folder / f"round-{number}/policy/model.safetensors") for number in (1, 2))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    engine = TransformersEngine(str(folder / "round-1/policy"), device="cpu")
    config = make_config(folder.parent)
    # Those of a part together, as they were sampled: what is computed is then the same to the last bit.
    part = list(read_solutions(folder / "round-2/samples"))[: config.problems_per_part]
    again = engine.generate([each.prompt_ids for each in part], config.sampling(2))
    for each, completions in zip(part, again, strict=True):
        assert [completion.text for completion in completions] == each.candidates


def test_the_same_settings_again_do_nothing_and_others_are_refused_with_both_values(finished: Any) -> None:
    folder, evaluations = finished
    before = files(folder)
    assert run(folder.parent, "finished", keep_rounds=2) == evaluations
    assert files(folder) == before
    for changes, message in (
        (
            {"learning_rate": 2e-3},
            r"round-1/policy' holds a stage with other settings:\n  learning_rate: 0.0003 there, 0.002",
        ),
        ({"solutions_per_problem": 4}, r"(?s)round-1/samples' holds a stage .*sampling.n: 8 there, 4 now"),
        ({"aggregation": "mean"}, r"round-0/evaluation' holds a stage .*\n  aggregation: 'min' there, 'mean' now"),
        (
            {"selector": "random", "evaluation_scorer": "er"},
            r"(?s)round-1/scores' holds a stage .*selector: None there, 'ran",
        ),
        ({"seed": 1}, r"(?s)round-0/held_out' holds a stage with other settings"),
    ):
        with pytest.raises(OutputFolderError, match=message):
            run(folder.parent, "finished", keep_rounds=2, **changes)
    assert files(folder) == before


def test_earlier_rounds_are_pruned_and_the_run_is_done_all_the_same(finished: Any) -> None:
    folder, evaluations = finished
    pruned = folder.with_name("pruned")
    shutil.copytree(folder, pruned)
    # The settings of a stage name no folder, so a copy goes on as the run itself.
    assert run(folder.parent, "pruned", keep_rounds=1) == evaluations
    # Whichever round is best, its policy stays.
    best = json.loads((pruned / "best.json").read_text())["round"]
    for stage in ("samples", "scores", "selected", "held_out", *(["policy"] if best != 1 else [])):
        assert [path.name for path in (pruned / "round-1" / stage).iterdir()] == ["manifest.json"]
        assert len(list((pruned / "round-2" / stage).iterdir())) > 1
    assert (pruned / "round-1/evaluation/evaluation.json").exists()
    before = files(pruned)
    assert run(folder.parent, "pruned", keep_rounds=1) == evaluations
    assert files(pruned) == before


SMALL: dict[str, Any] = {"rounds": 3, "prompts_per_round": 2, "solutions_per_problem": 2, "epochs": 1}


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes evaluations say this of pass@1, in place of what a training comes to."""
    scripted = [0.2, 0.5, 0.4, 0.6]

    def read(folder: Path) -> Evaluation:
        found = read_evaluation(folder)
        return replace(found, pass_at_1=replace(found.pass_at_1, mean=scripted[found.round]))

    monkeypatch.setattr("erprm.raft.rounds.read_evaluation", read)
    return scripted


def test_a_run_stops_where_patience_ends_and_keeps_the_policy_of_the_best_round(
    world: Path, accuracies: list[float]
) -> None:
    folder, said = world / "patient", io.StringIO()
    held_out = ProblemSet("jsonl", str(world / "test.jsonl"), limit=2)
    changes: dict[str, Any] = {**SMALL, "held_out": held_out, "evaluation_samples": 2}
    config = make_config(world, "patient", patience=1, **changes)
    assert [each.round for each in run_raft(config, Console(file=said, width=200), sft)] == [0, 1, 2]
    complaint = "stopped after round 2 of 3: pass_at_1 is not above that of round 1 in 1 round(s), and patience is 1"
    assert complaint in said.getvalue()
    assert json.loads((folder / "best.json").read_text()) == {
        "round": 1,
        "pass_at_1": 0.5,
        "policy": "round-1/policy",
    }
    # Of the best round, which is not among the last keep_rounds, the policy is left, and nothing else.
    assert (folder / "round-1/policy/model.safetensors").exists()
    assert [path.name for path in (folder / "round-1/samples").iterdir()] == ["manifest.json"]
    assert not (folder / "round-3").exists()

    before = files(folder)
    assert len(run(world, "patient", patience=1, **changes)) == 3
    assert files(folder) == before

    # More patience goes on with the run, and a better round takes the place of the best.
    assert len(run(world, "patient", patience=2, **changes)) == 4
    assert json.loads((folder / "best.json").read_text())["policy"] == "round-3/policy"
    assert [path.name for path in (folder / "round-1/policy").iterdir()] == ["manifest.json"]

    accuracies[:] = [0.2, 0.7, 0.4, 0.6]
    run(world, "patient", patience=2, **changes)
    assert json.loads((folder / "best.json").read_text()) == {"round": 1, "pass_at_1": 0.7, "policy": None}


def test_importance_weights_start_from_the_policy_that_sampled(world: Path) -> None:
    held_out = ProblemSet("jsonl", str(world / "test.jsonl"), limit=2)
    changes: dict[str, Any] = {**SMALL, "rounds": 1, "held_out": held_out, "evaluation_samples": 2}
    run(world, "weights", importance_cap=2.0, **changes)
    folder = world / "weights/round-1"
    rows, selected = (list(read_rows(folder / name)) for name in ("log_probs", "selected"))
    assert [{**row, "log_probs": None} for row in rows] == [{**row, "log_probs": None} for row in selected]
    samples = [PolicySample([*row["prompt"], *row["completion"]], len(row["prompt"]), "") for row in rows]
    policy = load_causal_lm(str(world / "policy"), None, dtype="float32").eval()
    expected = [sum(row["log_probs"]) for row in rows]
    assert solution_log_probs(policy, samples) == pytest.approx(expected, abs=1e-4)
    settings = json.loads((folder / "policy/sft.json").read_text())
    assert settings["data"]["samples"] == str(folder / "log_probs/samples.jsonl")
    assert settings["model"]["importance_cap"] == 2.0
    before = files(folder)
    with pytest.raises(OutputFolderError, match=r"importance_cap: 2\.0 there, None now"):
        run(world, "weights", **changes)
    assert files(folder) == before


def test_a_round_in_which_nothing_passes_the_threshold_can_be_gone_on_with(world: Path) -> None:
    complaint = r"round 1: none of 192 solutions is kept: threshold is 1.5, the best score is 1, and \d+ solution"
    with pytest.raises(SelectionError, match=complaint):
        run(world, "threshold", rounds=1, threshold=1.5)
    before = files(world / "threshold/round-1")
    evaluations = run(world, "threshold", rounds=1, threshold=1.0)
    assert len(evaluations) == 2
    after = files(world / "threshold/round-1")
    assert after.items() > before.items()
    assert all(row["score"] == 1.0 for row in read_rows(world / "threshold/round-1/selected"))


class LastOne:
    """A selector of one's own: the candidate sampled last is the best."""

    def scores(self, problems: Sequence[SampledProblem]) -> list[list[float]]:
        return [[float(place) for place in range(len(each.candidates))] for each in problems]


def test_a_class_that_scores_candidates_is_a_selector(world: Path) -> None:
    run(world, "own", scorers={"er": {"class_path": "tests.raft.test_rounds.LastOne"}}, rounds=1, prompts_per_round=4)
    sampled = read_solutions(world / "own/round-1/samples")
    last = {each.problem.problem_id: each.candidates[-1] for each in sampled if each.finished[-1]}
    kept = {row["problem_id"]: row["text"] for row in read_rows(world / "own/round-1/selected")}
    assert last
    assert kept.items() >= last.items()


@pytest.mark.parametrize("selector", ["random", "oracle"])
def test_selectors_without_a_model_need_none(world: Path, selector: str) -> None:
    initial, after = run(world, selector, selector=selector, scorers={}, rounds=1, prompts_per_round=6)
    assert initial.score is None
    assert after.gap is None
    rows = list(read_rows(world / selector / "round-1/scores"))
    if selector == "oracle":
        assert {score for row in rows for score in row["scores"]} == {1.0, None}
    else:
        assert len({score for row in rows for score in row["scores"]}) == 48


def test_problems_that_are_held_out_are_not_learned_from(world: Path) -> None:
    leak = ProblemSet("jsonl", str(world / "train.jsonl"), limit=5)
    with pytest.raises(
        ValueError, match=r"is among the held-out problems, too: '\d \d \+ 1 ='; problems and held_out must"
    ):
        run(world, "leak", held_out=leak, prompts_per_round=30)


def test_an_empty_slice_of_prompts_is_found_before_anything_is_sampled(world: Path) -> None:
    with pytest.raises(ValueError, match=r"round 2 of 2 has no prompt: there are 60 problem\(s\)"):
        run(world, "empty", prompts_per_round=60)
    assert not (world / "empty").exists()


def test_a_policy_saved_with_another_step_format_than_the_reward_model_s_is_refused(world: Path) -> None:
    policy = world / "tagged"
    shutil.copytree(world / "policy", policy)
    other = StepFormat(separator="\n").to_dict()
    (policy / "step_format.json").write_text(json.dumps(other), encoding="utf-8")
    shutil.copytree(world / "policy", world / "prm")
    (world / "prm/step_format.json").write_text(json.dumps(StepFormat().to_dict()), encoding="utf-8")
    changes = {"model": str(policy), "scorers": {"er": str(world / "prm")}, "rounds": 1}
    complaint = r"step format of model '.*tagged' .* that of scorers.er differ: separator: '\\n' and ''. Give a reward"
    with pytest.raises(ValueError, match=complaint):
        run(world, "formats", **changes)
    assert not (world / "formats").exists()
    # One that is no folder tells its format once it is there; what was sampled by then stays.
    named = {"class_path": "tests.raft.test_rounds.TaggedScorer"}
    with pytest.raises(ValueError, match=r"that of scorers\.er differ: separator"):
        run(world, "formats", **{**changes, "scorers": {"er": named}})
    assert list((world / "formats/round-1/samples").glob("*.jsonl"))
    before = files(world / "formats/round-1")
    assert len(run(world, "formats", **{**changes, "scorers": {"er": SCORER}})) == 2
    assert files(world / "formats/round-1").items() >= before.items()


class TaggedScorer:
    step_format = StepFormat()

    def score_steps(self, solutions: object) -> list[torch.Tensor]:
        raise AssertionError("is not asked")


@pytest.mark.parametrize(
    ("scorer", "complaint"),
    [
        (
            {"class_path": "nowhere.Scorer"},
            "scorers.er: 'nowhere.Scorer' cannot be imported: No module named 'nowhere'",
        ),
        ({"class_path": "pathlib.Path"}, "scorers.er: 'pathlib.Path' has neither score_steps"),
        ({"class": "x"}, "scorers.er is {'class': 'x'}; it must be a folder, a hub id, a URL, or class_path with"),
        ("./nowhere", "'nowhere' does not exist"),
    ],
)
def test_a_scorer_that_cannot_be_had_is_named(world: Path, scorer: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        run(world, "scorer", scorers={"er": scorer}, rounds=1, prompts_per_round=2)


def test_the_command_trains_in_a_process_of_its_own_and_shows_every_round(
    world: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    config = make_config(world, "command", rounds=1, prompts_per_round=6)
    file = world / "raft.json"
    plain = {**vars(config), "problems": vars(config.problems), "held_out": vars(config.held_out)}
    for name in ("prompt", "vllm", "server"):
        plain.pop(name)
    file.write_text(json.dumps(plain), encoding="utf-8")
    assert main(["raft", "--config", str(file)]) == 0
    assert "The policy of each round on held-out problems" in capfd.readouterr().out
    table = (world / "command/results.md").read_text(encoding="utf-8")
    of_rounds = [line.split(" | ")[0] for line in table.splitlines() if line.startswith(("| 0", "| 1"))]
    assert of_rounds == ["| 0 (initial policy)", "| 1"] * 2
    assert table.splitlines()[-1].startswith("Best by pass_at_1, ")
    assert (world / "command/round-1/policy/sft.log").exists()

    for changed, complaint in (
        ({"sft": {"model": {"lroa": {"rank": 2}}}}, "lroa"),
        ({"sft": {"data": {"samples": "x"}}}, "sft.data.samples is set by each round"),
        ({"threshold": 0.5}, "threshold: None there, 0.5 now"),
    ):
        file.write_text(json.dumps({**plain, **changed}), encoding="utf-8")
        assert main(["raft", "--config", str(file)]) == 1
        error = capfd.readouterr().err
        assert "erprm raft: " in error
        assert complaint in error
