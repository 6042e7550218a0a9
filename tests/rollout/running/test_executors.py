"""Actors of a local Ray cluster make the rows that one process makes."""

import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from erprm.data.records import read_records
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.executors import ActorError
from erprm.rollout.running.shard_maker import TooManyRejectedError
from erprm.rollout.running.verification import verify
from tests.rollout.conftest import make_taught_policy, make_word_tokenizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray Data: pip install 'erprm[ray]'"
)

SHARDS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and problems, one of which is longer than its context."""
    folder = tmp_path_factory.mktemp("work")
    make_taught_policy().save_pretrained(folder / "policy")
    make_word_tokenizer().save_pretrained(folder / "policy")
    rows = [{"question": f"{number % 10} + {number % 7} =", "answer": "4"} for number in range(2 * SHARDS)]
    rows[3]["question"] = "so " * 80
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False)
    yield
    ray.shutdown()


def run(folder: Path, name: str, grading: Any = "gsm8k", **keys: Any) -> RolloutSummary:
    config = RolloutConfig(
        output_dir=str(folder / name),
        source="jsonl",
        path=str(folder / "problems.jsonl"),
        device="cpu",
        solutions_per_problem=4,
        completions_per_step=3,
        max_tokens=24,
        problems_per_shard=2,
        grading=grading,
        **{"model": str(folder / "policy"), "executor": "ray", "actors": 2, **keys},
    )
    return run_rollouts(config, console=Console(file=io.StringIO()))


def counts(summary: RolloutSummary) -> dict[str, Any]:
    return {**summary.to_dict(), "seconds": None, "peak_bytes": None}


def test_two_actors_one_of_which_is_killed_make_the_rows_of_one_process(folder: Path) -> None:
    killed = folder / "killed"
    # There are 44 solutions to grade, so one of the two actors comes to its fifteenth text, in one of its later shards.
    grading = {"class_path": "tests.own_graders.KillsItsProcess", "init_args": {"file": str(killed), "after": 15}}
    by_actors = run(folder, "by_actors", grading)
    assert killed.exists()
    in_this_process = run(folder, "local", grading, executor="local")
    rows = list(read_records(folder / "local"))
    assert rows
    assert list(read_records(folder / "by_actors")) == rows
    assert counts(by_actors) == counts(in_this_process)
    assert by_actors.rejected_problems == 1
    assert by_actors.completions > 100
    rejected = [(folder / run / "rejected.jsonl").read_text("utf-8") for run in ("by_actors", "local")]
    assert rejected[0] == rejected[1]
    assert verify(folder / "by_actors").is_whole


@pytest.mark.slow
def test_an_error_of_an_actor_ends_the_run_and_is_told(folder: Path) -> None:
    with pytest.raises(ActorError, match=r"shard \d: .*no-such-policy"):
        run(folder, "failed", model=str(folder / "no-such-policy"))
    with pytest.raises(TooManyRejectedError, match="GradingError: grading: two returned"):
        run(folder, "failed", grading="tests.own_graders.two")


def test_an_engine_that_is_in_memory_is_refused(folder: Path) -> None:
    from tests.engines.recorded_engine import RecordedEngine

    config = RolloutConfig(
        "m", str(folder / "refused"), executor="ray", source="jsonl", path=str(folder / "problems.jsonl")
    )
    with pytest.raises(ValueError, match="each actor loads its own"):
        run_rollouts(config, RecordedEngine(make_word_tokenizer()))
