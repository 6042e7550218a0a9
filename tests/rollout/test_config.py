from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from erprm.rollout import PromptFormat, RolloutConfig, Sampling
from erprm.rollout.config import Part, parse_part

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def make_config(**changes: Any) -> RolloutConfig:
    return RolloutConfig(**{"model": "policy", "output_dir": "rollouts", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completions_per_step": 0}, "completions_per_step is 0; it must be at least 1"),
        ({"solutions_per_problem": 0}, "solutions_per_problem is 0"),
        ({"enough_successes": 1}, r"enough_successes is 1; it must be null, or 2 to completions_per_step \(8\)"),
        ({"enough_successes": 9}, "enough_successes is 9"),
        ({"enough_successes": 4, "bisection": True}, "enough_successes is 4 with bisection"),
        ({"problems_per_shard": 0}, "problems_per_shard is 0"),
        ({"batch_size": -2}, "batch_size is -2"),
        ({"style": "line"}, "style is 'line'; it must be one of auto, lines, math_shepherd, numbered, paragraphs"),
        ({"temperature": 0.0}, "temperature is 0 with solutions_per_problem=4: greedy decoding gives 4 equal texts"),
        ({"completion_temperature": 0.0}, "completion_temperature is 0 with completions_per_step=8"),
        ({"temperature": 0.0, "solutions_per_problem": 1}, "completion_temperature is 0 with completions_per_step=8"),
        ({"completion_temperature": float("inf")}, "completion_temperature is inf"),
        ({"top_p": 2.0}, r"top_p is 2\.0; it must be in \(0, 1\]"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"stop": [""]}, "stop is"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_loaded(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


def test_completions_take_their_own_temperature_and_count() -> None:
    config = make_config(temperature=0.0, solutions_per_problem=1, completion_temperature=0.9, stop=["\n\n"], seed=3)
    assert config.solution_sampling == Sampling(1, 0.0, 1.0, 512, ("\n\n",), 3)
    assert config.completion_sampling == Sampling(8, 0.9, 1.0, 512, ("\n\n",), 3)


@pytest.mark.parametrize(
    ("source", "grading", "kind"),
    [
        ("gsm8k", "auto", "gsm8k"),
        ("math", "auto", "math"),
        ("jsonl", "auto", "auto"),
        ("jsonl", "gsm8k", "gsm8k"),
        ("gsm8k", "math", "math"),
    ],
)
def test_auto_grading_is_the_sources_own(source: str, grading: str, kind: str) -> None:
    assert make_config(source=source, grading=grading).grading_kind == kind


def test_where_and_how_fast_a_run_is_made_is_no_part_of_its_content() -> None:
    elsewhere = make_config(output_dir="other", batch_size=7, device="cpu", path="problems.jsonl")
    assert elsewhere.content_settings() == make_config().content_settings()
    assert make_config(prompt=PromptFormat("Q: {question}")).content_settings() != make_config().content_settings()


def test_the_example_config_is_accepted() -> None:
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(RolloutConfig)
    arguments = parser.parse_args([f"--config={CONFIGS / 'rollout_jsonl.yaml'}"])
    del arguments["config"]
    config = RolloutConfig(**parser.instantiate_classes(arguments).as_dict())
    assert config.source == "jsonl"


def test_the_parts_of_a_run_have_every_shard_once() -> None:
    parts = [parse_part(f"{index}/3") for index in range(3)]
    assert [list(part.shards(8)) for part in parts] == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert list(parse_part(None).shards(3)) == [0, 1, 2]
    assert list(parse_part("5/8").shards(3)) == []


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "1/0", "a/b", "1/2/3", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard is '.*'; expected i/n with i from 0 to n-1"):
        parse_part(text)


def set_array(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    for name in ("ID", "MIN", "MAX", "COUNT"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def test_a_job_of_an_array_takes_its_place_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_array(monkeypatch, ID=3, MIN=1, MAX=8, COUNT=8)
    assert parse_part("slurm") == Part(2, 8)


def test_outside_an_array_or_in_one_of_one_task_or_with_gaps_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_array(monkeypatch)
    with pytest.raises(ValueError, match="this is not a job of a SLURM array"):
        parse_part("slurm")
    # As SLURM has it when one task is submitted again.
    set_array(monkeypatch, ID=3, MIN=3, MAX=3, COUNT=1)
    with pytest.raises(ValueError, match="task 3 is the only one of its array"):
        parse_part("slurm")
    set_array(monkeypatch, ID=6, MIN=2, MAX=6, COUNT=3)
    with pytest.raises(ValueError, match="the array has 3 tasks from 2 to 6: there are gaps"):
        parse_part("slurm")
