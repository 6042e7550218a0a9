"""The server on loopback, asked by OpenAI's client and by hostile ones."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from erprm.engines.prompts import PromptFormat
from erprm.runs.signals import Stopped, stop_on_signals
from erprm.search import Cascade
from erprm.search.methods import SEARCHES
from erprm.serve import run_server, serving
from tests.serve.conftest import EchoPolicy, EchoScorer, make_config, unreachable

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")
openai: Any = pytest.importorskip("openai", reason="needs the extra openai")

KEY = "a key for tests"
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
Start = Callable[..., str]


@pytest.fixture(scope="module")
def policy() -> EchoPolicy:
    return EchoPolicy()


@pytest.fixture(scope="module")
def url(policy: EchoPolicy) -> Iterator[str]:
    with serving(make_config(max_body_bytes=20_000), policy) as address:
        yield address


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server with a policy and settings; all end with the test."""
    with ExitStack() as stack:
        yield lambda policy, **changes: stack.enter_context(serving(make_config(**changes), policy))


def client_of(url: str, key: str = "none", retries: int = 0) -> Any:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, timeout=120)


def ask(url: str, question: str = "1 2 3 =", model: str = "echo", key: str = "none", **fields: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    with client_of(url, key) as client:
        return client.chat.completions.create(model=model, messages=messages, **fields)


def post(url: str, path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", timeout=120, **options)


def question_number(number: int) -> str:
    return " ".join(f"{number:03o}") + " ="


# Answers ----------------------------------------------------------------------------------------------------------


def test_a_chat_is_answered_with_the_best_of_n_candidates(url: str) -> None:
    answer = ask(url, seed=3)
    found = answer.erprm
    assert (found["question"], found["strategy"], found["seed"]) == ("1 2 3 =", "best_of_n:n=4", 3)
    assert len(found["candidates"]) >= 4
    scores = [candidate["score"] for candidate in found["candidates"]]
    assert scores == sorted(scores, reverse=True)
    choice = answer.choices[0]
    assert choice.message.content == found["candidates"][0]["text"]
    assert (choice.message.role, choice.finish_reason, answer.object) == ("assistant", "stop", "chat.completion")
    # "<s> 1 2 3 =" are five tokens, and each candidate "so 1 2 3 \n #### 7 </s>" has eight.
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.completion_tokens == found["tokens"] == 8 * len(found["candidates"])
    assert answer.usage.total_tokens == 5 + found["tokens"]


def test_every_step_has_its_score_and_its_place(url: str) -> None:
    for candidate in ask(url).erprm["candidates"]:
        ((begin, end),) = candidate["step_spans"]
        step = candidate["text"][begin:end]
        assert step.split()[:4] == ["so", "1", "2", "3"]
        expected = 0.9 if step.endswith("7") else 0.5
        assert candidate["step_scores"] == [pytest.approx(expected)]
        assert candidate["score"] == pytest.approx(expected)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_strategy_answers(url: str, name: str) -> None:
    found = ask(url, model=f"echo@{name}:budget=64").erprm
    assert found["strategy"] == f"{name}:budget=64"
    assert found["tokens"] <= 64
    assert all(candidate["text"].split()[:4] == ["so", "1", "2", "3"] for candidate in found["candidates"])


def test_a_vote_takes_the_most_frequent_answer(url: str) -> None:
    for seed in range(5):
        found = ask(url, model="echo@best_of_n:n=9,select=majority", seed=seed).erprm
        answers = [candidate["text"].split()[-1] for candidate in found["candidates"]]
        assert answers.count(answers[0]) == max(map(answers.count, answers))


class OneIsRight(EchoScorer):
    """Says 0.9 of a step that ends with 1, and 0.1 of any other."""

    def _score(self, question: str, step: str) -> float:
        return 0.9 if step.endswith("1") else 0.1


def test_a_cascade_chooses_among_what_passes_the_scorer_under_every_strategy(start: Start) -> None:
    for keep, chosen, read in ((0.01, "7", 1), (1.0, "1", 3)):
        url = start(EchoPolicy(), cascade=Cascade(OneIsRight(), keep=keep))
        for strategy in ("best_of_n:n=16", "adaptive_n:n=16,confidence=1"):
            answer = ask(url, model=f"echo@{strategy}", seed=3)
            candidates = answer.erprm["candidates"]
            # Of the three different solutions so many are read; the others have no score and come last.
            assert {candidate["text"][-1] for candidate in candidates} == set("127")
            assert answer.erprm["cascade"] == {"solutions": read, "tokens": None, "flops": None}
            assert answer.choices[0].message.content.endswith(f"#### {chosen}")
            scores = [candidate["score"] for candidate in candidates]
            assert len({candidate["text"] for candidate in candidates if candidate["score"] is not None}) == read
            assert scores == sorted(scores, key=lambda score: -1.0 if score is None else score, reverse=True)


def test_n_gives_the_n_best_candidates(url: str) -> None:
    answer = ask(url, n=3)
    best = [candidate["text"] for candidate in answer.erprm["candidates"][:3]]
    assert [choice.message.content for choice in answer.choices] == best
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_the_same_seed_gives_the_same_candidates_and_without_one_they_differ(url: str) -> None:
    def texts(**fields: Any) -> list[str]:
        return [candidate["text"] for candidate in ask(url, **fields).erprm["candidates"]]

    many = "echo@best_of_n:n=32"
    assert texts(model=many, seed=5) == texts(model=many, seed=5)
    # Two lists of at least 32 draws of three digits are equal with the chance 3^-32.
    assert texts(model=many) != texts(model=many)


def test_the_same_question_asked_twice_at_once_gets_two_samples(start: Start) -> None:
    url = start(EchoPolicy(), gather_s=1.0, max_batch=2)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: ask(url, model="echo@best_of_n:n=32"), range(2)))
    one, other = (answer.erprm for answer in answers)
    assert one["seed"] != other["seed"]
    assert [each["text"] for each in one["candidates"]] != [each["text"] for each in other["candidates"]]


def test_a_stream_has_the_answer_step_by_step(url: str) -> None:
    parts = list(ask(url, seed=3, n=2, stream=True, stream_options={"include_usage": True}))
    whole = ask(url, seed=3, n=2)
    for index in (0, 1):
        own = [part.choices[0] for part in parts if part.choices and part.choices[0].index == index]
        assert own[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in own) == whole.choices[index].message.content
        assert [choice.finish_reason for choice in own] == [None] * (len(own) - 1) + ["stop"]
    assert parts[-1].usage == whole.usage
    assert [part.erprm for part in parts if hasattr(part, "erprm")] == [whole.erprm]
    assert {(part.id, part.object) for part in parts} == {(parts[0].id, "chat.completion.chunk")}


def test_a_completion_gives_the_policy_the_prompt_as_it_is(start: Start) -> None:
    policy = EchoPolicy()
    url = start(policy, prompt=PromptFormat("then {question}"))
    with client_of(url) as client:
        answer = client.completions.create(model="echo", prompt="4 5 6 = ", seed=1, max_tokens=8)
        parts = list(client.completions.create(model="echo", prompt="4 5 6 = ", seed=1, max_tokens=8, stream=True))
    assert policy.calls[0] == ["4 5 6 ="]
    assert (answer.object, answer.erprm["question"]) == ("text_completion", "4 5 6 =")
    assert answer.choices[0].text.split()[:4] == ["so", "4", "5", "6"]
    assert "".join(part.choices[0].text for part in parts) == answer.choices[0].text
    ask(url, "4 5 6 =")
    assert policy.calls[-1] == ["then 4 5 6 ="]


def test_a_chat_goes_through_the_template_of_the_policy_and_its_last_message_to_the_scorer(start: Start) -> None:
    policy = EchoPolicy(CHAT_TEMPLATE)
    messages = [
        {"role": "system", "content": "so"},
        {"role": "user", "content": "1 1 1 ="},
        {"role": "assistant", "content": "then"},
        {"role": "user", "content": "4 5 6 ="},
    ]
    with client_of(start(policy, prompt=PromptFormat(chat=True))) as client:
        answer = client.chat.completions.create(model="echo", messages=messages)
    assert policy.calls[0][0].split() == ["so", "1", "1", "1", "=", "then", "4", "5", "6", "="]
    assert answer.erprm["question"] == "4 5 6 ="
    assert answer.choices[0].message.content.split()[:4] == ["so", "4", "5", "6"]


def test_sixty_four_clients_at_once_get_each_their_own_answer_in_few_calls(start: Start) -> None:
    policy = EchoPolicy()
    url = start(policy, gather_s=0.5)
    questions = [question_number(number) for number in range(64)]

    def strategy(number: int) -> str:
        return "echo" if number % 2 else "echo@beam:width=2,expansions=2,budget=64"

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(lambda n: ask(url, questions[n], strategy(n)), range(64)))
    assert len({answer.id for answer in answers}) == 64
    for question, answer in zip(questions, answers, strict=True):
        assert answer.erprm["question"] == question
        digits = question.split()[:3]
        assert all(each["text"].split()[1:4] == digits for each in answer.erprm["candidates"])
        assert min(each["score"] for each in answer.erprm["candidates"]) > 0.4  # 0 for another question's
    # Each answer alone would take more than one.
    assert len(policy.calls) < 64


def test_solutions_are_scored_with_the_places_of_their_steps(url: str) -> None:
    solution = "so 1 2 3\nthen 1 2 3 7\n"
    alone = post(url, "/score", json={"question": "1 2 3 =", "solution": solution}).json()
    assert alone["step_scores"] == [0.5, pytest.approx(0.9)]
    assert alone["score"] == 0.5
    assert [solution[begin:end] for begin, end in alone["step_spans"]] == ["so 1 2 3", "then 1 2 3 7"]
    steps = {"question": "1 2 3 =", "steps": ["so 1 2 3", "then 1 2 3 7"]}
    blank = {"question": "1 2 3 =", "solution": " \n"}
    assert post(url, "/score", json=[steps, blank]).json() == [
        alone,
        {"score": None, "step_scores": [], "step_spans": []},
    ]


def test_models_are_the_policy_alone_and_with_each_strategy(url: str) -> None:
    with client_of(url) as client:
        names = [model.id for model in client.models.list()]
    assert names == ["echo", *(f"echo@{name}" for name in SEARCHES)]


def test_numbers_for_prometheus_count_requests_and_tokens(start: Start) -> None:
    url = start(EchoPolicy())
    tokens = ask(url).usage.completion_tokens
    with pytest.raises(openai.BadRequestError):
        ask(url, temperature=0)
    numbers = httpx.get(f"{url}/metrics").text
    assert 'erprm_requests_total{path="/v1/chat/completions",status="200"} 1.0' in numbers
    assert 'erprm_requests_total{path="/v1/chat/completions",status="400"} 1.0' in numbers
    assert f"erprm_generated_tokens_total {tokens}.0" in numbers
    assert "erprm_waiting_requests 0.0" in numbers


def test_the_page_needs_nothing_but_this_server(url: str) -> None:
    page = httpx.get(url)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http:" not in page.text
    assert "https:" not in page.text


# Refusals ---------------------------------------------------------------------------------------------------------


def test_an_error_has_the_form_that_the_client_knows(url: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(url, tools=[{"type": "function", "function": {"name": "f"}}])
    assert refused.value.param == "tools"
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError) as missing:
        ask(url, model="ecko")
    assert missing.value.code == "model_not_found"


def test_a_question_that_is_too_long_is_refused_and_not_those_beside_it(start: Start) -> None:
    url = start(EchoPolicy(), gather_s=1.0, max_batch=2)
    with ThreadPoolExecutor(2) as threads:
        long, short = threads.submit(ask, url, "1 " * 100 + "="), threads.submit(ask, url)
        with pytest.raises(openai.BadRequestError, match="no room for a completion in the policy's context"):
            long.result()
        assert short.result().erprm["question"] == "1 2 3 ="


def test_a_solution_that_the_scorer_does_not_take_is_an_error_of_the_request(url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="8 is too long"):
        ask(url, "8 8 8 =")
    refused = post(url, "/score", json={"question": "8 8 8 =", "solution": "so"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "8 is too long")


def test_what_the_scorer_fails_on_is_its_own_request_alone(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    url = start(EchoPolicy(), gather_s=2.0, max_batch=8)
    questions = ["9 9 9 =", *map(question_number, range(7))]
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(ask, url, question) for question in questions]
        with pytest.raises(openai.InternalServerError, match="the server fails: ValueError; its log has the rest"):
            futures[0].result()
        assert [future.result().erprm["question"] for future in futures[1:]] == questions[1:]
    assert "9 is too much" in caplog.text


def test_a_key_is_asked_for(start: Start) -> None:
    url = start(EchoPolicy(), api_key=KEY)
    assert ask(url, key=KEY).choices
    with pytest.raises(openai.AuthenticationError):
        ask(url, key="another")
    for headers in ({}, {"Authorization": KEY}, {"Authorization": b"Bearer \xff\xfe"}):
        for path in ("/v1/chat/completions", "/v1/completions", "/score"):
            assert post(url, path, json={}, headers=headers).status_code == 401
    assert httpx.get(f"{url}/v1/models").status_code == 401
    for path in ("/health", "/metrics", "/"):
        assert httpx.get(f"{url}{path}").status_code == 200


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERPRM_API_KEY", KEY)
    assert make_config().key == KEY
    assert make_config(api_key="other").key == "other"
    monkeypatch.setenv("ERPRM_API_KEY", "")
    assert make_config().key is None


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "no JSON": (b"{'model': 1}", "not JSON"),
    "cut off": (b'{"model": "ec', "not JSON"),
    "no text": (b"\xff\xfe\x00\xd8", "not JSON"),
    "deep lists": (b"[" * 19_000, "not JSON"),
    "deep objects": (b'{"a":' * 3_000, "not JSON"),
    "not a number": (b'{"model": "echo", "messages": [], "temperature": NaN}', "NaN is not a value of JSON"),
    "infinite": (b'{"model": "echo", "messages": [], "temperature": -Infinity}', "-Infinity is not a value of JSON"),
    "too large a number": (b'{"model": "echo", "messages": [], "temperature": 1e999}', "it must be a number"),
    "too many digits": (b'{"model": "echo", "messages": [], "n": ' + b"9" * 9_000 + b"}", "not JSON"),
    "a list": (b"[]", "it must be an object"),
    "null": (b"null", "it must be an object"),
    "half a character as a name": (b'{"model": "echo", "messages": [], "\\ud800": 1}', "is not supported"),
    "half a character as a model": (b'{"model": "\\ud800", "messages": []}', "it must be a text"),
    "control characters as a name": (b'{"model": "echo", "messages": [], "\\u001b[31m": 1}', "is not supported"),
    "a long name": (b'{"model": "echo", "messages": [], "' + b"a" * 10_000 + b'": 1}', "is not supported"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_body_is_refused_in_a_few_words(url: str, kind: str) -> None:
    body, message = HOSTILE[kind]
    refused = post(url, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert message in refused.json()["error"]["message"]
    assert len(refused.content) < 1500
    assert "\x1b" not in refused.text
    assert ask(url).choices


def test_a_form_of_another_site_is_refused(url: str) -> None:
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "1 2 3 ="}]})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert post(url, content=body, headers={"Content-Type": content_type}).status_code == 415


def test_a_large_body_is_refused_whether_or_not_it_says_its_length(url: str) -> None:
    def in_parts() -> Iterator[bytes]:
        yield from [b"[" * 1000] * 21

    for content in (b"[" * 20_001, in_parts()):
        refused = post(url, content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 413
        assert "20,000 bytes" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/score", 405)])
def test_other_paths_and_methods_are_refused_in_the_same_form(url: str, method: str, path: str, status: int) -> None:
    refused = httpx.request(method, f"{url}{path}")
    assert refused.status_code == status
    assert refused.json()["error"]["type"] == "invalid_request_error"


# Load, failure and the end ----------------------------------------------------------------------------------------


def test_more_requests_than_may_wait_are_told_to_come_again(start: Start) -> None:
    policy = EchoPolicy()
    policy.may_answer.clear()
    url = start(policy, max_waiting=2)
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(ask, url, question_number(0))
        assert policy.asked.wait(60)
        waiting = [threads.submit(ask, url, question_number(number)) for number in (1, 2)]
        wait_for(url, waiting=2)
        with pytest.raises(openai.RateLimitError, match="2 requests are waiting") as refused:
            ask(url)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        policy.may_answer.set()
        questions = [future.result().erprm["question"] for future in (running, *waiting)]
    assert questions == [question_number(number) for number in range(3)]


def test_a_client_that_hangs_up_before_its_turn_is_dropped_and_the_others_are_answered(start: Start) -> None:
    policy = EchoPolicy()
    policy.may_answer.clear()
    url = start(policy)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(ask, url, question_number(0))
        assert policy.asked.wait(60)
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": question_number(1)}]})
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            wait_for(url, waiting=1)
        wait_for(url, waiting=0)
        after = threads.submit(ask, url, question_number(2))
        wait_for(url, waiting=1)
        policy.may_answer.set()
        assert running.result().erprm["question"] == question_number(0)
        assert after.result().erprm["question"] == question_number(2)
    asked = {prompt for prompts in policy.calls for prompt in prompts}
    assert asked == {question_number(0), question_number(2)}


def test_a_policy_that_is_away_is_told_and_asked_again_when_it_is_back(start: Start) -> None:
    policy = EchoPolicy()
    url = start(policy)
    policy.failing = unreachable()
    with pytest.raises(openai.InternalServerError, match="the policy or the scorer does not answer") as refused:
        ask(url)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "5"
    assert httpx.get(f"{url}/health").status_code == 200
    policy.failing = RuntimeError("a fault")
    with pytest.raises(openai.InternalServerError, match="the server fails: RuntimeError") as failed:
        ask(url)
    assert failed.value.status_code == 500
    policy.failing = None
    assert ask(url).choices


def test_at_the_end_what_runs_is_finished_and_the_rest_is_refused() -> None:
    policy = EchoPolicy()
    policy.may_answer.clear()
    with ThreadPoolExecutor(2) as threads:
        with serving(make_config(), policy) as url:
            running = threads.submit(ask, url, question_number(0))
            assert policy.asked.wait(60)
            waiting = threads.submit(ask, url, question_number(1))
            wait_for(url, waiting=1)
            threading.Timer(0.3, policy.may_answer.set).start()
        assert running.result().erprm["question"] == question_number(0)
        with pytest.raises(openai.InternalServerError, match="the server is closing") as refused:
            waiting.result()
        assert refused.value.status_code == 503
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def wait_for(url: str, waiting: int) -> None:
    """Waits until so many requests wait."""
    for _ in range(600):
        if httpx.get(f"{url}/health").json()["waiting"] == waiting:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"not {waiting} requests came to wait")


def test_a_signal_lets_what_runs_end_and_new_requests_be_refused_until_then() -> None:
    policy = EchoPolicy()
    policy.may_answer.clear()
    found: dict[str, Any] = {}

    def use(url: str, _: str) -> None:
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(ask, url, question_number(0))
            assert policy.asked.wait(60)
            os.kill(os.getpid(), signal.SIGTERM)
            while httpx.get(f"{url}/health").status_code != 503:
                pass
            body = {"model": "echo", "messages": [{"role": "user", "content": "1 2 3 ="}]}
            found["new"] = post(url, json=body)
            policy.may_answer.set()
            found["running"] = running.result()

    with stop_on_signals(), pytest.raises(Stopped, match="SIGTERM"):
        run_server(make_config(), use, policy)
    assert found["new"].status_code == 503
    assert found["new"].headers["retry-after"] == "5"
    assert found["running"].erprm["question"] == question_number(0)
