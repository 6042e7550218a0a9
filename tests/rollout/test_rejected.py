"""One bad problem never costs the run: it is rejected with its reason, and tried again when that is asked for."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from erprm.cli import main
from erprm.data.records import read_records
from erprm.data.sources import Problem
from erprm.engines.openai_client import ServerError
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.shard_maker import TooManyRejectedError
from tests.engines.recorded_engine import RecordedEngine
from tests.rollout.conftest import make_word_tokenizer

PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", "4", "test") for number in range(7)]
BAD = "3 + 1 ="


def refuses_one(prompt: str) -> None:
    """As an engine that rejects one request of a batch."""
    if prompt.startswith(BAD):
        raise RuntimeError("request refused")


def raising(error: Exception) -> Callable[[str], None]:
    def before(prompt: str) -> None:
        if prompt.startswith(BAD):
            raise error

    return before


def make_engine(before: Callable[[str], None] = lambda prompt: None, **options: Any) -> RecordedEngine:
    return RecordedEngine(make_word_tokenizer(), before=before, **options)


def run(folder: Path, engine: RecordedEngine | None, problems: list[Problem] = PROBLEMS, **keys: Any) -> RolloutSummary:
    settings = {"solutions_per_problem": 2, "completions_per_step": 3, "max_tokens": 24, "problems_per_shard": 4}
    config = RolloutConfig("recorded", str(folder), **{**settings, "grading": "gsm8k", **keys})
    return run_rollouts(config, engine, problems, Console(file=io.StringIO()))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_other_problems_of_its_shard_have_the_records_they_would_have_without_it(tmp_path: Path) -> None:
    run(tmp_path / "whole", make_engine())
    summary = run(tmp_path / "bad", make_engine(refuses_one))
    expected = [record for record in read_records(tmp_path / "whole") if record.problem_id != "p/3"]
    assert list(read_records(tmp_path / "bad")) == expected
    assert (summary.problems, summary.rejected_problems, summary.solutions) == (6, 1, 12)
    assert lines_of(tmp_path / "bad" / "rejected.jsonl") == [
        {"problem_id": "p/3", "error": "RuntimeError", "reason": "request refused", "shard": 0}
    ]
    assert not (tmp_path / "whole" / "rejected.jsonl").exists()


def test_tokens_of_attempts_that_failed_are_counted(tmp_path: Path) -> None:
    engine = make_engine(refuses_one)
    summary = run(tmp_path, engine)
    assert (summary.prompt_tokens, summary.completion_tokens) == (engine.usage.prompt, engine.usage.completion)


def test_a_prompt_longer_than_the_context_is_rejected_before_anything_is_sampled(tmp_path: Path) -> None:
    engine = make_engine()
    run(tmp_path, engine, [PROBLEMS[0], Problem("p/long", "so " * 80, "1", "test")])
    [rejected] = lines_of(tmp_path / "rejected.jsonl")
    assert rejected["error"] == "PromptError"
    assert "problem 'p/long': its prompt has 81 tokens; the policy's context of 64" in rejected["reason"]
    assert engine.prompts.count("0 + 1 =") == 1


def test_rejected_problems_are_left_alone_unless_they_are_asked_for(tmp_path: Path) -> None:
    run(tmp_path / "whole", make_engine())
    rejected = run(tmp_path / "bad", make_engine(refuses_one))
    untouched = make_engine()
    assert run(tmp_path / "bad", untouched) == rejected
    assert untouched.prompts == []

    repairing = make_engine()
    repaired = run(tmp_path / "bad", repairing, retry_rejected=True)
    assert list(read_records(tmp_path / "bad")) == list(read_records(tmp_path / "whole"))
    assert all(prompt.startswith(BAD) for prompt in repairing.prompts)
    assert (repaired.problems, repaired.rejected_problems, repaired.solutions) == (7, 0, 14)
    assert not (tmp_path / "bad" / "rejected.jsonl").exists()


def test_a_problem_that_fails_again_is_rejected_again_once(tmp_path: Path) -> None:
    run(tmp_path, make_engine(refuses_one))
    summary = run(tmp_path, make_engine(raising(ValueError("still not"))), retry_rejected=True)
    assert summary.rejected_problems == 1
    assert [line["reason"] for line in lines_of(tmp_path / "rejected.jsonl")] == ["still not"]


def test_a_rejected_problem_is_neither_lost_nor_doubled_when_the_run_is_cut_short(tmp_path: Path) -> None:
    run(tmp_path, make_engine(refuses_one))
    # As a kill leaves it between the first shard and the end.
    (tmp_path / ".shards" / "00001.json").unlink()
    (tmp_path / "rejected.jsonl").unlink()
    (tmp_path / "summary.json").unlink()
    assert run(tmp_path, make_engine(refuses_one)).rejected_problems == 1
    assert [line["problem_id"] for line in lines_of(tmp_path / "rejected.jsonl")] == ["p/3"]


def test_a_shard_of_which_nothing_is_left_stops_the_run_and_is_not_written(tmp_path: Path) -> None:
    def dead(prompt: str) -> None:
        raise RuntimeError("engine is dead")

    with pytest.raises(
        TooManyRejectedError, match=r"none of the 4 problems of shard 0 .* 'p/0': RuntimeError: engine is"
    ):
        run(tmp_path, make_engine(dead))
    assert not list(tmp_path.glob("data/*"))
    assert run(tmp_path, make_engine()).problems == 7


def test_more_rejected_problems_than_their_share_stop_the_run_and_the_rest_is_kept(tmp_path: Path) -> None:
    def refuses_two(prompt: str) -> None:
        if prompt[0] in "13":
            raise RuntimeError("request refused")

    with pytest.raises(TooManyRejectedError, match=r"2 of 4 problems tried .* max_rejected_share=0\.05 allows of 7"):
        run(tmp_path, make_engine(refuses_two))
    assert [line["problem_id"] for line in lines_of(tmp_path / "rejected.jsonl")] == ["p/1", "p/3"]
    assert {record.problem_id for record in read_records(tmp_path)} == {"p/0", "p/2"}
    # The same again stops at once; what the message advises goes on.
    with pytest.raises(TooManyRejectedError):
        run(tmp_path, None)
    assert run(tmp_path, make_engine(), max_rejected_share=0.3).problems == 5
    assert run(tmp_path, make_engine(), retry_rejected=True).problems == 7


def test_a_long_run_stops_as_soon_as_more_than_ten_and_their_share_have_failed(tmp_path: Path) -> None:
    problems = [Problem(f"p/{n}", f"{n % 4} + 1 =", "4", "test") for n in range(400)]
    with pytest.raises(TooManyRejectedError, match=r"^11 of 44 problems tried"):
        run(tmp_path, make_engine(refuses_one), problems)


def server_error(cause: Exception) -> ServerError:
    error = ServerError("server: no answer")
    error.__cause__ = cause
    return error


class StatusError(Exception):
    """As the errors of the openai package that carry a status."""

    def __init__(self, status_code: int) -> None:
        super().__init__()
        self.status_code = status_code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        ConnectionError("network gone"),
        torch.OutOfMemoryError("CUDA out of memory"),
        server_error(ConnectionError("refused")),
        server_error(StatusError(503)),
        server_error(StatusError(401)),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error.__cause__, 'status_code', '')}".strip(),
)
def test_an_error_of_the_machine_stops_the_run_and_rejects_nobody(tmp_path: Path, error: Exception) -> None:
    bad_in_the_second_shard = PROBLEMS[4:] + PROBLEMS[:4]
    with pytest.raises(type(error)):
        run(tmp_path / "bad", make_engine(raising(error)), bad_in_the_second_shard)
    assert {record.problem_id for record in read_records(tmp_path / "bad")} == {"p/4", "p/5", "p/6", "p/0"}
    run(tmp_path / "bad", make_engine(), bad_in_the_second_shard)
    run(tmp_path / "whole", make_engine(), bad_in_the_second_shard)
    assert list(read_records(tmp_path / "bad")) == list(read_records(tmp_path / "whole"))


def test_a_request_that_a_server_refuses_is_its_problems_error(tmp_path: Path) -> None:
    summary = run(tmp_path, make_engine(raising(server_error(StatusError(400)))))
    assert (summary.problems, summary.rejected_problems) == (6, 1)


def test_an_answer_for_which_the_grader_is_killed_is_reported_and_costs_nothing_else(tmp_path: Path) -> None:
    # No program finds the value of this sum.
    texts = ("so 3 \n The answer is $\\sum_{k=1}^{\\infty} \\sin(k^k)$", "so 3 \n The answer is $\\sqrt{17}$")
    problems = [Problem("p/0", "0 + 1 =", "\\sqrt{17}", "test"), Problem("p/1", "1 + 1 =", "\\sqrt{17}", "test")]
    summary = run(tmp_path, make_engine(texts=texts), problems, grading="math", completions_per_step=8)
    assert (summary.ungraded_answers, summary.rejected_problems) == (2, 0)
    killed = {"gold": "\\sqrt{17}", "prediction": "$\\sum_{k=1}^{\\infty} \\sin(k^k)$", "reason": "time", "shard": 0}
    assert lines_of(tmp_path / "ungraded.jsonl") == [{"problem_id": "p/0", **killed}, {"problem_id": "p/1", **killed}]
    rewards = [reward for r in read_records(tmp_path) if r.problem_id == "p/0" for step in r.rewards for reward in step]
    assert {0.0, 1.0} == set(rewards)

    # Asked for, its shard is made again, here by a policy that does not write such things any more.
    assert (
        run(
            tmp_path,
            make_engine(texts=texts[1:]),
            problems,
            grading="math",
            completions_per_step=8,
            retry_rejected=True,
        ).ungraded_answers
        == 0
    )
    assert not (tmp_path / "ungraded.jsonl").exists()


def test_the_command_ends_with_a_report_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"question": "q", "answer": "1"}\n', "utf-8")
    keys = ["--source", "jsonl", "--path", "p.jsonl", "--output_dir", "run"]
    assert main(["rollout", "--model", "no-such-model", *keys]) == 1
    assert capsys.readouterr().err.startswith("erprm rollout: ")
    Path("run").mkdir(exist_ok=True)
    Path("run/thesis.tex").write_text("", "utf-8")
    assert main(["rollout", "--model", "no-such-model", *keys]) == 1
    assert "not empty (thesis.tex)" in capsys.readouterr().err
