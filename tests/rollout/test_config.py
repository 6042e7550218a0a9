from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from erprm.rollout import PromptFormat, RolloutConfig, Sampling

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
