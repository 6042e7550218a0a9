import io
import math
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch
from rich.console import Console

from erprm.data.sources import Problem
from erprm.estimate.rollout import RolloutEstimate, estimate_rollouts, total_interval
from erprm.grading import Grader
from erprm.rollout import RolloutConfig, run_rollouts
from tests.engines.known_policy import KnownPolicy, Words
from tests.rollout.conftest import make_word_tokenizer

# Prompts of different lengths; that of "p/0" begins that of "p/90".
QUESTIONS = [f"{number // 10} + {number % 10} =" for number in range(90)] + [
    f"0 + 0 = {number} + {number} =" for number in range(10)
]
PROBLEMS = [Problem(f"p/{i}", question, str(i % 10 + 1), "test") for i, question in enumerate(QUESTIONS)]
TOO_LONG = [Problem(f"long/{number}", "so " * 80, "1", "test") for number in range(100)]
COUNTS = ("solutions", "records", "steps", "prefixes", "completions", "completion_tokens", "prompt_tokens")


def lines(written: Words) -> Mapping[str, float]:
    """One to four lines with a digit each, and an answer."""
    last = written[-1] if written else "\n"
    if last in ("so", "then", "####"):
        return {str(digit): 0.1 for digit in range(10)}
    if last == "\n":
        count = written.count("\n")
        return {"so": 1.0} if count == 0 else {"then": 0.6, "####": 0.4} if count < 4 else {"####": 1.0}
    return {"</s>": 1.0} if written[-2] == "####" else {"\n": 1.0}


@pytest.fixture(scope="module")
def engine() -> KnownPolicy:
    engine = KnownPolicy(lines, make_word_tokenizer())
    engine.max_length = 64
    return engine


def make_config(folder: Path, **changes: Any) -> RolloutConfig:
    settings = {"solutions_per_problem": 3, "completions_per_step": 2, "max_tokens": 24, "problems_per_shard": 25}
    return RolloutConfig("tiny", str(folder), **{**settings, **changes})


def estimate(engine: KnownPolicy, problems: list[Problem], probe: int, seed: int = 0) -> RolloutEstimate:
    with Grader() as grader:
        return estimate_rollouts(problems, engine, grader, make_config(Path("unused")), probe, seed)


@pytest.fixture(scope="module")
def run(engine: KnownPolicy, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Summary of a run over all problems, and the bytes of its Parquet files."""
    folder = tmp_path_factory.mktemp("run")
    summary = run_rollouts(make_config(folder), engine, PROBLEMS, Console(file=io.StringIO()))
    return summary, [file.stat().st_size for file in folder.glob("data/*.parquet")]


def test_a_probe_of_every_problem_gives_the_counts_of_the_run(engine: KnownPolicy, run: Any) -> None:
    summary, sizes = run
    found = estimate(engine, PROBLEMS, probe=1000)
    for name in COUNTS:
        expected = getattr(found, name)
        assert (expected.value, expected.low, expected.high) == (getattr(summary, name),) * 3, name
    assert (found.problems, found.shards, found.probe.problems) == (100, len(sizes), 100)
    assert found.probe.pass_at_1 == summary.pass_at_1
    # Which problems share a shard differs, and with it how well the shard packs.
    assert found.storage_bytes.value == pytest.approx(sum(sizes), rel=0.05)


@pytest.mark.parametrize(
    "rule", [{"reuse_solutions": False}, {"enough_successes": 2, "completions_per_step": 4}, {"bisection": True}]
)
def test_fewer_completions_by_a_rule_are_counted_as_the_run_counts_them(
    rule: dict[str, Any], engine: KnownPolicy, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", **rule)
    summary = run_rollouts(config, engine, PROBLEMS[:30], Console(file=io.StringIO()))
    with Grader() as grader:
        found = estimate_rollouts(PROBLEMS[:30], engine, grader, config, 30)
    assert {name: getattr(found, name).value for name in COUNTS} == {name: getattr(summary, name) for name in COUNTS}


def test_intervals_of_a_probe_hold_the_counts_of_the_run(engine: KnownPolicy, run: Any) -> None:
    summary, sizes = run
    probes = [estimate(engine, PROBLEMS, probe=25, seed=seed) for seed in range(30)]
    for name in COUNTS:
        expected = [getattr(found, name) for found in probes]
        # Of 30 intervals with a chance of 90%, less than what they promise, 14 miss less than once in a million runs.
        assert sum(each.low <= getattr(summary, name) <= each.high for each in expected) >= 17, name
        assert all(each.high <= 2 * each.low for each in expected), name
    found = probes[0]
    assert found.completion_tokens.low < found.completion_tokens.high
    assert found.storage_bytes.value == pytest.approx(sum(sizes), rel=0.15)
    assert found.tokens_per_second == found.probe.completion_tokens / found.probe.seconds
    assert found.hours_here.value == pytest.approx(found.completion_tokens.value / found.tokens_per_second / 3600)


def test_what_a_file_takes_beside_its_records_is_told_from_a_probe_smaller_than_a_shard(
    engine: KnownPolicy, run: Any
) -> None:
    _, sizes = run
    # Ten problems in one file: most of it is not their records. The run puts 25 into each of four.
    found = estimate(engine, PROBLEMS, probe=10)
    assert found.shard_bytes > 10 * found.record_bytes > 0
    assert found.storage_bytes.value == pytest.approx(sum(sizes), rel=0.15)


def test_expected_solutions_are_exact(engine: KnownPolicy) -> None:
    solutions = estimate(engine, PROBLEMS, probe=7).solutions
    assert (solutions.value, solutions.low, solutions.high) == (300, 300, 300)


def test_problems_that_fail_are_told_and_nothing_is_expected_of_them(engine: KnownPolicy) -> None:
    problems = [*PROBLEMS, *TOO_LONG]
    probes = [estimate(engine, problems, probe=20, seed=seed) for seed in range(30)]
    for found in probes:
        failed = 20 - found.probe.problems
        # The probe is drawn from the whole source: the first twenty problems do not fail.
        assert 0 < failed < 20
        assert found.failing.value == pytest.approx(10 * failed)
        # Wilson's interval of so many of 20, with z = 1.96, times 200.
        middle, half = failed + 1.9207, 1.95996 * math.sqrt(failed * (20 - failed) / 20 + 0.9604)
        low, high = (200 * end / (20 + 3.8415) for end in (middle - half, middle + half))
        assert (found.failing.low, found.failing.high) == pytest.approx((low, high), rel=1e-4)
        assert found.solutions.value == 3 * (200 - 10 * failed)
        assert found.first_failure is not None
        assert "its prompt has 81 tokens; the policy's context of 64" in found.first_failure
    # As above.
    assert sum(found.solutions.low < 300 < found.solutions.high for found in probes) >= 17
    assert probes[0].steps != probes[1].steps


def test_no_failure_among_a_few_problems_leaves_some_possible(engine: KnownPolicy) -> None:
    found = estimate(engine, PROBLEMS, probe=10)
    assert found.first_failure is None
    # Wilson's interval of 0 of n ends at z^2 / (n + z^2), with z = 1.96.
    assert (found.failing.value, found.failing.low) == (0, 0)
    assert found.failing.high == pytest.approx(100 * 3.8415 / 13.8415, rel=1e-4)


def test_a_probe_of_which_every_problem_fails_is_refused(engine: KnownPolicy) -> None:
    with pytest.raises(ValueError, match=r"every one of the 3 probed problems fails, the first: .* has 81 tokens"):
        estimate(engine, TOO_LONG, probe=3)


def test_a_probe_of_one_problem_is_refused(engine: KnownPolicy) -> None:
    with pytest.raises(ValueError, match="probe is 1; it must be at least 2"):
        estimate(engine, PROBLEMS, probe=1)


@pytest.mark.parametrize(("population", "low", "high"), [(2, 1.0, 1.0), (4, 0.0, 4.0), (8, 4 - 24**0.5, 4 + 24**0.5)])
def test_the_interval_of_a_total_widens_with_what_was_not_drawn(population: int, low: float, high: float) -> None:
    # Means of two draws from {0, 1} are 0, 1/2 or 1, and those at both ends are more than 2.5% of them. The ends are
    # moved by sqrt((1 - 2/N) 2): 0 at N = 2, 1 at N = 4, sqrt(3/2) at N = 8.
    ends = total_interval(torch.tensor([[0.0], [1.0]]), population)
    assert [end.item() for end in ends] == pytest.approx([low, high])


def test_nineteen_of_twenty_intervals_hold_the_total() -> None:
    rng, normal = random.Random(0), NormalDist(5, 0.6)
    values = [math.exp(normal.inv_cdf((i + 0.5) / 200)) for i in range(200)]
    population = torch.tensor(values, dtype=torch.float64)[:, None]
    held = 0
    for _ in range(2000):
        low, high = total_interval(population[rng.sample(range(200), 50)], 200)
        held += low.item() <= population.sum().item() <= high.item()
    # Percentile intervals of skewed values fall short by some, here by two points; the standard error is 0.6 points.
    assert 0.89 <= held / 2000 <= 0.97
