"""Tests of the OpenAI engine on servers that misbehave; tests with a real server are in test_engines.py."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from erprm.data.records import read_records
from erprm.data.sources import Problem
from erprm.engines.base import PromptError
from erprm.engines.openai_client import ServerError
from erprm.rollout import OpenAIEngine, RolloutConfig, Sampling, run_rollouts
from erprm.rollout.running.shard_maker import TooManyRejectedError
from tests.failing_server import NO_ANSWERS, Body, FailingServer, failing_servers

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
    with pytest.raises(ServerError, match=rf"{server.base_url}.* no usable answer: it was not complete within 0.2 s"):
        make_engine(server, tokenizer_dir, timeout_s=0.2).generate(["so"], Sampling())
    ended.set()


def test_a_server_that_is_not_there_is_named(tokenizer_dir: str) -> None:
    with pytest.raises(
        ServerError, match=r"server http://127\.0\.0\.1:9/v1, model 'policy', after up to 0 retries: no usable answer"
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


def chosen(*choices: dict[str, Any]) -> Callable[[], Body]:
    whole = {"index": 0, "text": " 3", "finish_reason": "length", "token_ids": [8]}
    return lambda: {"choices": [{**whole, **choice} for choice in choices]}


NO_COMPLETIONS: dict[str, tuple[Callable[[], Body], str]] = {
    **NO_ANSWERS,
    "no choice": (lambda: {"choices": []}, "0 completions came back"),
    "too many choices": (chosen({}, {"index": 1}), "2 completions came back"),
    "another index": (chosen({"index": 1}), "1 completions came back"),
    "choice that is a text": (lambda: {"choices": [" 3"]}, "1 completions came back"),
    "no text": (chosen({"text": None}), "has the text None"),
    "half a character": (chosen({"text": "\ud83d"}), r"has the text '\\ud83d'"),
    "no reason": (chosen({"finish_reason": None}), "reason None; expected stop or length"),
    "another reason": (chosen({"finish_reason": "\x1b[2Jabort"}), r"reason '\\x1b\[2Jabort'; expected stop or length"),
    "negative token": (chosen({"token_ids": [-1]}), r"has the token ids \[-1\]"),
    "token beyond the vocabulary": (chosen({"token_ids": [2**40]}), r"has the token ids \[1099511627776\]"),
    "tokens that are texts": (chosen({"token_ids": ["8"]}), r"has the token ids \['8'\]"),
    "more tokens than asked for": (chosen({"token_ids": [8, 8]}), "has 2 tokens; expected 1 to 1"),
    "text of no token": (chosen({"token_ids": []}), "has 0 tokens; expected 1 to 1"),
    "log probability NaN": (chosen({"logprobs": {"token_logprobs": [float("nan")]}}), "logits are not finite"),
    "log probability null": (chosen({"logprobs": {"token_logprobs": [None]}}), "logits are not finite"),
}


@pytest.mark.parametrize("fault", NO_COMPLETIONS)
def test_what_is_no_answer_is_asked_for_again_and_then_ends_the_call_with_the_url(
    serve: Any, tokenizer_dir: str, fault: str
) -> None:
    body, message = NO_COMPLETIONS[fault]
    bad = iter([body] * 3)
    server = serve(lambda _: (200, made()) if (made := next(bad, None)) else one_completion(token_ids=[8]))
    engine = make_engine(server, tokenizer_dir, timeout_s=1.0 if fault == "drip-fed" else 60.0)
    started = time.monotonic()
    with pytest.raises(ServerError, match=rf"server {server.base_url}, .* no usable answer: .*{message}") as error:
        engine.generate(["so"], Sampling(max_tokens=1))
    assert time.monotonic() - started < 60.0
    assert str(error.value).isprintable()
    assert len(server.requests) == 2
    [[completion]] = engine.generate(["so"], Sampling(max_tokens=1))
    assert (completion.token_ids, len(server.requests)) == ((8,), 4)


def card(**fields: object) -> Callable[[], Body]:
    return lambda: {"data": [{"id": "policy", **fields}]}


MALFORMED_CARDS: dict[str, tuple[Callable[[], Body], str]] = {
    **{name: (body, message) for name, (body, message) in NO_ANSWERS.items() if name != "drip-fed"},
    "no model": (lambda: {"data": []}, "not a list of models"),
    "model that is a text": (lambda: {"data": ["policy"]}, "lists 'policy', which is not a model with an id"),
    "id that is a number": (lambda: {"data": [{"id": 7}]}, "which is not a model with an id"),
    "id that is empty": (lambda: {"data": [{"id": ""}]}, "which is not a model with an id"),
    **{
        f"context {context}": (
            card(max_model_len=context),
            "has the max_model_len .*; expected a whole number from 2 to",
        )
        for context in (-1, 0, 1, 2**31, 1e30, "4096", True, [4096], float("nan"))
    },
    **{
        f"root {root!r}": (card(root=root), "expected a path or a hub id")
        for root in (7, "", {"path": "x"}, "\x1b[31m/models")
    },
}


@pytest.mark.parametrize("fault", MALFORMED_CARDS)
def test_a_malformed_list_of_models_is_asked_for_again_and_then_refused(
    serve: Any, tokenizer_dir: str, fault: str
) -> None:
    body, message = MALFORMED_CARDS[fault]
    asked: list[int] = []

    def models() -> Body:
        asked.append(1)
        return body()

    server = serve(lambda _: one_completion(), models)
    with pytest.raises(ServerError, match=rf"server {server.base_url}, .* no usable answer: .*{message}") as error:
        make_engine(server, tokenizer_dir, max_model_len=None)
    assert str(error.value).isprintable()
    assert len(asked) == 2


def test_a_run_ends_at_a_bad_answer_with_its_problems_rejects_none_and_goes_on_when_the_server_is_well(
    serve: Any, tokenizer_dir: str, tmp_path: Path
) -> None:
    is_ill: list[bool] = [False]

    def answer(request: dict[str, Any]) -> tuple[int, Body]:
        return (200, b"<html>down for repair</html>") if is_ill[0] else one_completion(text=" 3", token_ids=[8])

    server = serve(answer)
    engine = make_engine(server, tokenizer_dir, retries=0)
    problems = [Problem(str(number), f"{number} + 1 =", str(number + 1), "sums") for number in range(4)]
    config = RolloutConfig(
        "policy", str(tmp_path / "run"), source="jsonl", solutions_per_problem=1, problems_per_shard=2, max_tokens=1
    )
    run_rollouts(replace(config, output_dir=str(tmp_path / "whole")), engine, problems)
    is_ill[0] = True
    message = (
        rf"shard 0, problems '0' to '1': server {server.base_url}, .*down for repair.*\nThe shards that are written"
    )
    with pytest.raises(ServerError, match=message):
        run_rollouts(config, engine, problems)
    assert not list((tmp_path / "run").glob("**/rejected.jsonl"))
    is_ill[0] = False
    summary = run_rollouts(config, engine, problems)
    assert (summary.problems, summary.rejected_problems) == (4, 0)
    assert list(read_records(tmp_path / "run")) == list(read_records(tmp_path / "whole"))


def test_logprobs_are_asked_for_once_of_vllm_alone(serve: Any, tokenizer_dir: str) -> None:
    for owner, asked in (("vllm", [0, None]), ("someone", [None, None])):
        server = serve(lambda _: one_completion(token_ids=[8]), max_model_len=64, owned_by=owner)
        make_engine(server, tokenizer_dir, max_model_len=None).generate(["so", "then"], Sampling(max_tokens=1))
        assert sorted((request.get("logprobs") for request in server.requests), key=str) == asked


def test_a_served_policy_with_nan_in_its_weights_ends_a_run_and_rejects_no_problem(
    serve: Any, tokenizer_dir: str, tmp_path: Path
) -> None:
    # As vLLM 0.32 answers; without logprobs it gives the token 0 again and again.
    refusal = {"error": {"message": "Out of range float values are not JSON compliant"}}

    def broken(request: dict[str, Any]) -> tuple[int, Body]:
        return (400, refusal) if "logprobs" in request else one_completion(text="", token_ids=[0])

    server = serve(broken, max_model_len=64, owned_by="vllm")
    engine = make_engine(server, tokenizer_dir, max_model_len=None)
    problems = [Problem(str(number), f"{number} + 1 =", str(number + 1), "sums") for number in range(3)]
    config = RolloutConfig("policy", str(tmp_path / "run"), source="jsonl")
    with pytest.raises(
        ServerError, match=r"model 'policy': the model's logits are not finite, as with NaN in its weights"
    ):
        run_rollouts(config, engine, problems)
    assert not list(tmp_path.glob("run/**/*.parquet"))


def test_a_redirection_is_not_followed_but_told(serve: Any, tokenizer_dir: str) -> None:
    with pytest.raises(ServerError, match=r"status 308: .* \(it redirects to None; give that address\)"):
        make_engine(serve(lambda _: (308, b"")), tokenizer_dir).generate(["so"], Sampling())


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_message_of_the_server_cannot_take_hold_of_the_terminal(
    serve: Any, tokenizer_dir: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hostile = {"error": {"message": "\x1b]0;owned\x07\x9b2J\r\u202egone " + "x" * 10_000}}
    engine = make_engine(serve(lambda _: (status, hostile)), tokenizer_dir, retries=0)
    with pytest.raises((PromptError, ServerError)) as error:
        engine.generate(["so"], Sampling())
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
    problems = [Problem(str(number), f"{number} + 1 =", str(number + 1), "sums") for number in range(3)]
    config = RolloutConfig("policy", str(tmp_path / "run"), source="jsonl")
    with pytest.raises((TooManyRejectedError, ServerError)):
        run_rollouts(config, engine, problems)
    assert all(record.getMessage().replace("\n", "").isprintable() for record in caplog.records)


def test_requests_under_way_when_one_has_failed_end_without_a_word(
    serve: Any, tokenizer_dir: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail_later(request: dict[str, Any]) -> tuple[int, Body]:
        time.sleep(0.05 * len(request["prompt"]))
        return 200, b""

    engine = make_engine(serve(fail_later), tokenizer_dir, concurrency=3, retries=0)
    with pytest.raises(ServerError, match="0 of 8 requests were answered"):
        engine.generate(["so " * words for words in range(1, 9)], Sampling())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")
