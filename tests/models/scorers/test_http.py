"""Tests of the HTTP scorer on servers that misbehave; tests with a real server are in test_vllm.py."""

import base64
import json
import math
import re
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from erprm.cli import main
from erprm.engines.model_files import BESIDE_FILE
from erprm.engines.openai_client import ServerError
from erprm.models import HTTPStepScorer, ProcessRewardModel
from erprm.models.adapters import AdapterError
from erprm.models.two_class import save_token_classifier
from erprm.raft.selectors import check_scorer, open_scorer
from erprm.scoring import listening
from erprm.steps import Solution
from tests.failing_server import NO_ANSWERS, Body, FailingServer, failing_servers
from tests.tiny import save_tiny_llama

pytest.importorskip("openai", reason="needs the extra openai")

SOLUTIONS = [Solution("What is 3 and 4 more?", ["Step 1: 3 = 7.", "The answer is: 7"]), Solution("What is 3?", ["3"])]
Serve = Callable[..., FailingServer]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``lm``, a causal language model, and ``prm``, the token classifier of it."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_llama(folder / "lm")
    save_token_classifier(ProcessRewardModel.from_pretrained(folder / "lm"), folder / "prm")
    return folder


@pytest.fixture
def serve(folders: Path) -> Iterator[Serve]:
    with failing_servers() as start:
        yield lambda answer, **card: start(answer, **{"root": str(folders / "prm"), "max_model_len": 512, **card})


def pooled(probabilities_T2: Sequence[Sequence[float]]) -> tuple[int, dict[str, Any]]:
    values = [value for row in probabilities_T2 for value in row]
    return 200, {"data": [{"data": base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()}]}


def position_over_1000(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return pooled([[1 - place / 1000, place / 1000] for place in range(len(request["input"]))])


def test_scores_are_the_good_class_at_the_tags_of_the_very_tokens_of_training(serve: Serve, folders: Path) -> None:
    server = serve(position_over_1000)
    scorer = HTTPStepScorer(server.url)
    encoded = ProcessRewardModel(str(folders / "lm")).step_encoder.encode_batch(SOLUTIONS)
    for scores, each in zip(scorer.score_steps(SOLUTIONS), encoded, strict=True):
        torch.testing.assert_close(scores, torch.tensor(each.tag_positions) / 1000, atol=1e-6, rtol=0.0)
    assert sorted(request["input"] for request in server.requests) == sorted(each.input_ids for each in encoded)
    assert set(server.paths) == {"/pooling"}
    assert (scorer.served_name, scorer.backbone_path) == ("policy", str(folders / "prm"))
    assert scorer.score_steps([]) == []


def test_raft_takes_a_served_model_by_its_url(serve: Serve) -> None:
    server = serve(position_over_1000)
    check_scorer(server.url, "scorers.er", policy="a-policy")
    with open_scorer(server.url, "scorers.er", torch.device("cpu")) as scorer:
        assert isinstance(scorer, HTTPStepScorer)
        assert [len(each) for each in scorer.score_steps(SOLUTIONS)] == [2, 1]


def test_the_url_may_end_as_that_of_an_openai_server(serve: Serve) -> None:
    server = serve(position_over_1000)
    assert HTTPStepScorer(f"{server.url}/v1/").url == server.url


def test_requests_that_fail_are_sent_again_and_every_solution_keeps_its_place(serve: Serve) -> None:
    failed: set[int] = set()

    def fail_once_each(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if len(request["input"]) not in failed:
            failed.add(len(request["input"]))
            return 503, {"error": {"message": "starting"}}
        return position_over_1000(request)

    server = serve(fail_once_each)
    scores = HTTPStepScorer(server.url, retries=2).score_steps(SOLUTIONS)
    assert [len(each) for each in scores] == [2, 1]
    assert len(server.requests) == 4


def test_no_more_requests_are_under_way_than_concurrency_says(serve: Serve) -> None:
    under_way: list[int] = [0]
    most: list[int] = [0]

    lock, three = threading.Lock(), threading.Barrier(3, timeout=60)

    def three_at_a_time(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        three.wait()
        time.sleep(0.01)  # time for a fourth, if there were one
        with lock:
            under_way[0] -= 1
        return position_over_1000(request)

    HTTPStepScorer(serve(three_at_a_time).url, concurrency=3).score_steps(SOLUTIONS * 6)
    assert most[0] == 3


def test_after_the_last_retry_the_error_names_url_model_status_and_what_was_answered(serve: Serve) -> None:
    short_is_answered = threading.Event()

    def short_ones_only(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if len(request["input"]) > 30:
            short_is_answered.wait(60)
            return 500, {"error": {"message": "out of memory"}}
        short_is_answered.set()
        return position_over_1000(request)

    server = serve(short_ones_only)
    message = (
        rf"server {server.url}/v1, model 'policy', after up to 1 retries: status 500: .*out of memory.*; "
        "1 of 2 requests were answered"
    )
    with pytest.raises(ServerError, match=message):
        HTTPStepScorer(server.url, retries=1).score_steps(SOLUTIONS)


def test_a_server_that_does_not_answer_in_time_is_named(serve: Serve) -> None:
    ended = threading.Event()

    def wait(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        ended.wait()
        return position_over_1000(request)

    server = serve(wait)
    message = rf"{server.url}/v1, .* no usable answer: it was not complete within 0\.2 s; 0 of 2 requests"
    with pytest.raises(ServerError, match=message):
        HTTPStepScorer(server.url, timeout_s=0.2, retries=0).score_steps(SOLUTIONS)
    ended.set()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ServerError, match=r"server http://127\.0\.0\.1:9/v1, after up to 0 retries: no usable answer"):
        HTTPStepScorer("http://127.0.0.1:9", retries=0)


def test_a_server_without_a_pooling_runner_is_told_from_one_that_fails(serve: Serve) -> None:
    server = serve(lambda _: (404, {"error": {"message": "Not Found"}}))
    with pytest.raises(ServerError, match=r"status 404: .*\(is it vllm serve with --runner pooling\?\)"):
        HTTPStepScorer(server.url).score_steps(SOLUTIONS)
    refusing = serve(lambda _: (400, {"error": {"message": "Unsupported task: 'token_classify'"}}))
    with pytest.raises(ServerError, match=r"refuses a request: .*Unsupported task"):
        HTTPStepScorer(refusing.url).score_steps(SOLUTIONS)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (pooled([[0.1, 0.9]] * 5), r"values of shape \[5, 2\] for \d+ tokens; expected the probabilities of two"),
        (pooled([[0.5]]), r"it is \{'data': .*, not as vLLM's /pooling answers"),
        ((200, {"data": []}), r"it is \{'data': \[\]\}, not as vLLM's /pooling answers"),
        ((200, {"choices": []}), r"it is \{'choices': \[\]\}, not as vLLM's /pooling answers"),
    ],
)
def test_an_answer_of_another_form_is_refused(serve: Serve, answer: tuple[int, dict[str, Any]], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        HTTPStepScorer(serve(lambda _: answer).url, retries=0).score_steps(SOLUTIONS)


def test_logits_are_not_taken_for_probabilities(serve: Serve) -> None:
    server = serve(lambda request: pooled([[-2.0, 1.5]] * len(request["input"])))
    with pytest.raises(ServerError, match=r"it has values that are not probabilities: \[-2\.0, 1\.5\] at token 0 of"):
        HTTPStepScorer(server.url, retries=0).score_steps(SOLUTIONS)


def test_a_solution_beyond_the_served_context_is_refused_before_any_is_sent(serve: Serve) -> None:
    server = serve(position_over_1000, max_model_len=20)
    with pytest.raises(ValueError, match=r"solution of 'What is 3 and 4 more\?' has \d+ tokens; server .* reads 20"):
        HTTPStepScorer(server.url).score_steps(SOLUTIONS)
    assert server.requests == []
    scorer = HTTPStepScorer(server.url)
    lengths = [len(each.input_ids) for each in scorer.step_encoder.encode_batch(SOLUTIONS)]
    assert lengths[0] > 20 >= lengths[1]
    assert scorer.too_long(SOLUTIONS) == {0: lengths[0]}


def test_each_answer_is_told_as_progress(serve: Serve) -> None:
    told: list[int] = []
    with listening(told.append):
        HTTPStepScorer(serve(position_over_1000).url).score_steps(SOLUTIONS)
    assert told == [1, 1]


def test_a_model_that_is_not_to_be_found_here_asks_for_its_folder(serve: Serve, folders: Path) -> None:
    server = serve(position_over_1000, root="/models/elsewhere")
    with pytest.raises(
        AdapterError, match=r"model 'policy', from '/models/elsewhere': .*; model names a folder or hub id with"
    ):
        HTTPStepScorer(server.url)
    assert HTTPStepScorer(server.url, str(folders / "prm")).score_steps(SOLUTIONS)[0].shape == (2,)


def test_a_causal_language_model_is_to_be_exported_first(serve: Serve, folders: Path) -> None:
    model = ProcessRewardModel.from_pretrained(folders / "lm")
    model.save_pretrained(folders / "plain")
    server = serve(position_over_1000, root=str(folders / "plain"))
    with pytest.raises(AdapterError, match=r"plain' is a causal language model, .* erprm export --to token-classif"):
        HTTPStepScorer(server.url)


@pytest.mark.parametrize("served", ["lm", "prm"])
def test_a_model_with_weights_beside_its_backbone_is_refused_since_vllm_reads_none(
    served: str, serve: Serve, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / served, tmp_path / "headed")
    save_file({"head.weight": torch.ones(1)}, tmp_path / "headed" / BESIDE_FILE)
    server = serve(position_over_1000, root=str(tmp_path / "headed"))
    with pytest.raises(AdapterError, match=rf"headed/{BESIDE_FILE} holds weights beside the backbone, which vLLM does"):
        HTTPStepScorer(server.url, adapter="auto" if served == "prm" else "er_prm")
    assert not server.requests


def test_a_name_that_is_not_served_is_named_with_those_that_are(serve: Serve) -> None:
    server = serve(position_over_1000)
    with pytest.raises(ValueError, match=rf"name is 'prm', but {server.base_url} serves \['policy'\]"):
        HTTPStepScorer(server.url, name="prm")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, r"url is 'localhost:8000'; it must begin with http:// or https://"),
        ({"concurrency": 0}, "concurrency is 0; it must be at least 1"),
        ({"retries": -1}, "retries is -1; it must be at least 0"),
        ({"timeout_s": 0.0}, r"timeout_s is 0\.0; it must be above 0"),
    ],
)
def test_impossible_settings_are_refused_before_the_server_is_asked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HTTPStepScorer(**{"url": "http://127.0.0.1:9", **settings})


def pooled_text(data: object) -> Callable[[], Body]:
    return lambda: {"data": [{"data": data}]}


def pooled_pairs(*pairs: Sequence[float]) -> Callable[[], Body]:
    return lambda: pooled(pairs)[1]


NO_SCORES: dict[str, tuple[Callable[[], Body], str]] = {
    **NO_ANSWERS,
    "no input": (lambda: {"data": []}, "not as vLLM's /pooling answers"),
    "two inputs": (lambda: {"data": [{"data": ""}, {"data": ""}]}, "not as vLLM's /pooling answers"),
    "no base64": (pooled_text("\x1b[31m"), "not as vLLM's /pooling answers"),
    "a part of a number": (pooled_text("AAA="), "not as vLLM's /pooling answers"),
    "numbers in place of base64": (pooled_text([[0.1, 0.9]]), "not as vLLM's /pooling answers"),
    "texts in place of numbers": (pooled_text(["good"]), "not as vLLM's /pooling answers"),
    "too few": (pooled_pairs(*[[0.5, 0.5]]), r"values of shape \[1, 2\] for 2 tokens"),
    "too many": (pooled_pairs(*[[0.5, 0.5]] * 3), r"values of shape \[3, 2\] for 2 tokens"),
    **{
        f"probabilities {pair}": (pooled_pairs([0.5, 0.5], pair), "are not probabilities")
        for pair in ([-1.0, 2.0], [0.1, 0.1], [1.0, 1.0], [math.nan, math.nan], [0.5, math.nan], [math.inf, -math.inf])
    },
}


@pytest.mark.parametrize("fault", NO_SCORES)
def test_what_is_no_answer_is_asked_for_again_and_then_ends_the_call_with_the_url(serve: Serve, fault: str) -> None:
    body, message = NO_SCORES[fault]
    answers = iter([body, body, body])
    server = serve(lambda _: (200, made()) if (made := next(answers, None)) else pooled([[0.75, 0.25]] * 2))
    scorer = HTTPStepScorer(server.url, timeout_s=1.0 if fault == "drip-fed" else 60.0, retries=1)
    solution = Solution("", ["3"])
    assert len(scorer.step_encoder.encode_batch([solution])[0].input_ids) == 2
    with pytest.raises(ServerError, match=rf"server {server.base_url}, .* no usable answer: .*{message}") as error:
        scorer.score_steps([solution])
    assert str(error.value).isprintable()
    assert len(server.requests) == 2
    assert scorer.score_steps([solution])[0].tolist() == [0.25]
    assert len(server.requests) == 4


@pytest.mark.parametrize("context", [-1, 0, 1, 2**31, "512"])
def test_an_impossible_context_is_the_servers_fault(serve: Serve, context: object) -> None:
    with pytest.raises(ServerError, match=r"has the max_model_len .*; expected a whole number from 2 to 2147483647"):
        HTTPStepScorer(serve(position_over_1000, max_model_len=context).url, retries=0)


@pytest.mark.parametrize("fault", ["empty", "garbage", "HTML", "probabilities [nan, nan]"])
def test_rows_skipped_are_never_those_of_a_bad_answer(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    body, _ = NO_SCORES[fault]
    asked: list[int] = []

    def well_for_8(request: dict[str, Any]) -> tuple[int, Body]:
        asked.append(1)
        return (200, body()) if 8 < len(asked) < 20 else position_over_1000(request)

    rows = [{"id": number, "question": f"What is {number}?", "solution": str(number)} for number in range(24)]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = serve(well_for_8)
    command = ["score", "--model", server.url, "--jsonl", str(source), str(output), "--on_error", "skip"]
    command += ["--rows_at_once", "8", "--server.retries", "1", "--server.concurrency", "1"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert re.search(
        rf"{source}, rows 9 to 16: server {server.base_url}, .* after up to 1 retries: no usable answer: .*\n"
        r"8 row\(s\) are done; the same command continues from there\.\n$",
        error,
    )
    assert error.replace("\n", "").isprintable()
    assert not output.exists()
    asked += [1] * 20
    assert main(command) == 0
    scored = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in scored] == list(range(24))
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.jsonl"}
