"""The demo's stories with a tiny backbone that learns nothing: all parts run, are continued, and refuse bad input."""

import json
import shutil
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.demo.stories.templates import template_named
from tests.tiny import save_tiny_llama


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"), with_tags=False)


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories") / "run"
    assert run(folder, tiny) == 0
    return folder


def run(folder: Path, backbone: Path, *keys: str) -> int:
    quick = ["--quick", "--labels", "[er]", "--prm_seeds", "2"]
    return main(["demo", "--world", "stories", "--backbone", str(backbone), "--output_dir", str(folder), *quick, *keys])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_stage_runs(finished: Path) -> None:
    for pool, problems in {"seen": 3, "held_out": 2}.items():
        results = json.loads((finished / f"results-{pool}.json").read_text(encoding="utf-8"))
        assert set(results) == {"er", "pool"}
        assert results["er"]["bon"]["n"] == [1, 2, 4]
        # Best-of-1 is a random candidate, whatever the reward models of the two seeds are worth.
        assert results["er"]["bon"]["mean"][0] == pytest.approx(results["pool"]["random"]["mean"][0])
        assert (finished / f"best_of_n-{pool}.png").read_bytes().startswith(b"\x89PNG")
        assert len(lines(finished / "pool" / f"{pool}.jsonl")) == problems
        assert lines(finished / "checked_steps" / f"{pool}.jsonl")
    assert {record.source for record in read_records(finished / "rollouts")} == {"stories"}
    for seed in (0, 1):
        steps = json.loads((finished / f"reward_model_er_{seed}/steps/steps/results.json").read_text(encoding="utf-8"))
        assert set(steps["data"]) == {"seen", "held_out"}
    assert set(json.loads((finished / "steps.json").read_text(encoding="utf-8"))["er"]) == {"seen", "held_out"}


def test_no_problem_is_in_two_parts_and_held_out_templates_are_in_one_alone(finished: Path) -> None:
    parts = {name: lines(finished / "problems" / f"{name}.jsonl") for name in ("train", "seen", "held_out")}
    ids = [str(row["problem_id"]) for rows in parts.values() for row in rows]
    assert len(set(ids)) == len(ids) == 6 + 3 + 2
    for name, rows in parts.items():
        assert {template_named(str(row["problem_id"]))[0].held_out for row in rows} == {name == "held_out"}
    prompts = {row["prompt"] for row in lines(finished / "policy/samples.jsonl")}
    assert len(prompts) == 16
    assert not prompts & {f"{row['question']}\n" for rows in parts.values() for row in rows}


def test_a_finished_run_is_found_and_so_is_one_whose_policy_was_left_out(
    finished: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "stored"
    for part in ("problems", "rollouts", "pool"):
        shutil.copytree(finished / part, stored / part)
    shutil.copy(finished / "manifest.json", stored)
    assert run(stored, tiny) == 0
    output = capsys.readouterr().out
    for stage in ("problems", "rollouts", "pool"):
        assert f"{stage}: found" in output
    assert "policy" not in output
    assert (stored / "results-seen.json").is_file()
    assert run(finished, tiny) == 0
    assert "reward model er 1: found" in capsys.readouterr().out


def test_reward_models_that_start_from_the_policy_stand_beside_the_others(
    finished: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    keys = ["--prm_start", "policy", "--dtype", "bfloat16", "--prm_seeds", "1"]
    assert run(folder, tiny, *keys) == 0
    output = capsys.readouterr().out
    # The rollouts were sampled in float32; they are of this policy nevertheless.
    assert "rollouts: found" in output
    assert (folder / "reward_model_er_from_policy_0" / "results-seen.json").is_file()
    assert (folder / "reward_model_er_0").is_dir()


def test_stored_rollouts_of_another_policy_or_backbone_are_refused(
    finished: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Path(shutil.copytree(finished, tmp_path / "stored"))
    shutil.rmtree(stored / "policy")
    shutil.copytree(finished / "base_model", stored / "policy")
    assert run(stored, tiny) == 1
    assert "holds rollouts of another policy" in capsys.readouterr().err
    other = save_tiny_llama(tmp_path / "other", with_tags=True)
    assert run(stored, other) == 1
    assert "holds a demo with other settings:\n  backbone: " in capsys.readouterr().err


def test_bad_settings_are_refused_by_name(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for keys, message in (
        (["--world", "novels"], "world is 'novels'; it must be one of dial, stories, puzzles"),
        (["--backbone", str(tiny)], "the dial's models are made from nothing"),
        (["--prm_start", "policy"], "prm_start is 'policy', which is for the stories"),
        (["--labels", "[er, er]"], "give one or more of er, soft, hard, outcome, each once"),
        (["--world", "stories", "--prm_seeds", "0"], "prm_seeds is 0; it must be at least 1"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["demo", "--output_dir", str(tmp_path / "none"), *keys])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_tokenizer_that_takes_numbers_apart_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = Path(shutil.copytree(tiny, tmp_path / "apart"))
    tokenizer = json.loads((apart / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["decoder"] = {
        "type": "Sequence",
        "decoders": [tokenizer["decoder"], {"type": "Replace", "pattern": {"String": "4"}, "content": " 4 "}],
    }
    (apart / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert run(tmp_path / "none", apart) == 1
    error = capsys.readouterr().err
    assert "does not keep texts as they are" in error
    assert "came back as" in error
    assert not (tmp_path / "none").exists()
