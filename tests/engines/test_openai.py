"""Tests of the OpenAI engine on servers that misbehave; tests with a real server are in test_engines.py."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from erprm.data.sources import Problem
from erprm.engines.base import PromptError
from erprm.engines.openai_client import ServerError
from erprm.rollout import OpenAIEngine, RolloutConfig, Sampling, run_rollouts
from tests.failing_server import FailingServer, failing_servers

pytest.importorskip("openai", reason="needs the extra openai")


def one_completion(**choice: Any) -> tuple[int, dict[str, Any]]:
    whole = {"index": 0, "text": " 3", "finish_reason": "length", **choice}
    return 200, {"id": "a", "object": "text_completion", "created": 0, "model": "policy", "choices": [whole]}


@pytest.fixture
def serve() -> Iterator[Callable[..., FailingServer]]:
    with failing_servers() as start:
        yield start


@pytest.fixture
def tokenizer_dir(word_tokenizer: Any, tmp_path: Path) -> str:
    word_tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def make_engine(server: FailingServer, tokenizer: str, **changes: Any) -> OpenAIEngine:
    settings = {"max_model_len": 64, "retries": 1, "timeout_s": 5.0, **changes}
    return OpenAIEngine("policy", server.base_url, tokenizer, **settings)


def test_a_server_that_fails_is_asked_again_after_a_wait(serve: Any, tokenizer_dir: str) -> None:
    times: list[float] = []

    def fail_twice(_: Any) -> tuple[int, dict[str, Any]]:
        times.append(time.monotonic())
        return (503, {"error": {"message": "starting"}}) if len(times) < 3 else one_completion(token_ids=[8])

    engine = make_engine(serve(fail_twice), tokenizer_dir, retries=3)
    [[completion]] = engine.generate(["so"], Sampling(max_tokens=1))
    assert completion.token_ids == (8,)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 2
    # Half a second and a second, each up to a quarter shorter; on a busy machine both are longer.
    assert waits[0] >= 0.375
    assert waits[1] >= 0.75


def test_after_the_last_retry_the_error_names_url_and_status(serve: Any, tokenizer_dir: str) -> None:
    server = serve(lambda _: (500, {"error": {"message": "out of memory"}}))
    with pytest.raises(
        ServerError, match=rf"{server.base_url}, model 'policy', after up to 1 retries: status 500: .*out"
    ):
        make_engine(server, tokenizer_dir).generate(["so"], Sampling())
    assert len(server.requests) == 2


def test_a_request_that_is_refused_is_not_sent_again(serve: Any, tokenizer_dir: str) -> None:
    server = serve(lambda _: (400, {"error": {"message": "temperature is too high"}}))
    with pytest.raises(
        PromptError, match=rf"server {server.base_url}, .* refuses a request: .*temperature is too high"
    ):
        make_engine(server, tokenizer_dir).generate(["so"], Sampling())
    assert len(server.requests) == 1


def test_a_server_that_fails_stops_a_run_and_rejects_no_problem(serve: Any, tokenizer_dir: str, tmp_path: Path) -> None:
    engine = make_engine(serve(lambda _: (500, {"error": {"message": "out of memory"}})), tokenizer_dir, retries=0)
    config = RolloutConfig("policy", str(tmp_path / "run"), source="jsonl")
    problems = [Problem(str(number), f"{number} + 1 =", str(number + 1), "sums") for number in range(3)]
    with pytest.raises(ServerError, match="status 500"):
        run_rollouts(config, engine, problems)
    assert "out of memory" not in "".join(file.read_text() for file in (tmp_path / "run").glob("rejected*"))


def test_a_server_that_does_not_answer_in_time_is_named(serve: Any, tokenizer_dir: str) -> None:
    ended = threading.Event()

    def wait(_: Any) -> tuple[int, dict[str, Any]]:
        ended.wait()
        return one_completion()

    server = serve(wait)
    with pytest.raises(ServerError, match=rf"{server.base_url}.* no answer: Request timed out"):
        make_engine(server, tokenizer_dir, timeout_s=0.2).generate(["so"], Sampling())
    ended.set()


def test_a_server_that_is_not_there_is_named(tokenizer_dir: str) -> None:
    with pytest.raises(
        ServerError, match=r"server http://127\.0\.0\.1:9/v1, model 'policy', after up to 0 retries: no answer"
    ):
        OpenAIEngine("policy", "http://127.0.0.1:9/v1", tokenizer_dir, retries=0)


def test_a_served_model_without_a_tokenizer_names_the_key() -> None:
    with pytest.raises(FileNotFoundError, match=r"server\.tokenizer names the tokenizer of a served model"):
        OpenAIEngine("policy", "http://127.0.0.1:9/v1")


def test_a_server_that_does_not_tell_its_context_asks_for_the_key(serve: Any, tokenizer_dir: str) -> None:
    with pytest.raises(ValueError, match=r"does not say how long its context is: set server\.max_model_len"):
        make_engine(serve(lambda _: one_completion()), tokenizer_dir, max_model_len=None)


def test_a_text_without_token_ids_is_tokenised_and_this_is_said_once(
    serve: Any, tokenizer_dir: str, word_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(serve(lambda _: one_completion(text=" 3 + 4", finish_reason="stop")), tokenizer_dir)
    [[first], [second]] = engine.generate(["so", "then"], Sampling())
    assert first == second
    assert first.text == " 3 + 4"
    assert first.token_ids == tuple(word_tokenizer.convert_tokens_to_ids(["3", "+", "4"]))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("returns no token ids" in record.getMessage() for record in warnings) == 1


def test_requests_ask_for_the_policys_own_distribution(serve: Any, tokenizer_dir: str, word_tokenizer: Any) -> None:
    server = serve(lambda _: one_completion(token_ids=[8]))
    make_engine(server, tokenizer_dir).generate(["so"], Sampling(temperature=0.7, top_p=0.9, max_tokens=999))
    [request] = server.requests
    assert request["prompt"] == word_tokenizer("so")["input_ids"]
    assert request["max_tokens"] == 64 - len(request["prompt"])
    assert (request["temperature"], request["top_p"]) == (0.7, 0.9)
    assert (request["top_k"], request["min_p"], request["repetition_penalty"]) == (0, 0.0, 1.0)


def test_a_fingerprint_tells_names_contexts_and_tokenizers_apart(
    serve: Any, tokenizer_dir: str, byte_tokenizer: Any, tmp_path: Path
) -> None:
    server = serve(lambda _: one_completion())
    byte_tokenizer.save_pretrained(tmp_path / "other")
    prints = [
        make_engine(server, tokenizer_dir).fingerprint(),
        make_engine(server, tokenizer_dir, max_model_len=32).fingerprint(),
        make_engine(server, str(tmp_path / "other")).fingerprint(),
        OpenAIEngine("other", server.base_url, tokenizer_dir, max_model_len=64).fingerprint(),
    ]
    assert len(set(prints)) == 4
    assert make_engine(server, tokenizer_dir).fingerprint() == prints[0]
