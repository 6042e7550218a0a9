"""Settings of a server, and how it is opened."""

import importlib.util
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from erprm.cli.commands import parse_settings
from erprm.engines.prompts import PromptFormat
from erprm.engines.settings import ServerOptions
from erprm.errors import MissingPackageError, UsageError
from erprm.serve import ServeConfig, serving
from tests.failing_server import Body, FailingServer, failing_servers
from tests.rollout.conftest import make_word_tokenizer
from tests.serve.conftest import EchoPolicy, make_config

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")


@pytest.fixture
def servers() -> Iterator[Callable[..., FailingServer]]:
    with failing_servers() as start:
        yield start


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "beem"}, "strategy is 'beem'; .* did you mean 'beam'"),
        ({"strategy": "beam:widht=2"}, "did you mean 'width'"),
        ({"strategy": "beam", "budget": 15}, r"may take 15 tokens; it must be at least max_tokens \(16\)"),
        ({"strategy": "best_of_n:n=5000"}, r"may take 80000 tokens; .* at most max_budget \(65536\)"),
        ({"strategy": "beam:select=best,vote_eta=1"}, "vote_eta is 1"),
        ({"select": "best", "vote_eta": 1.0}, "vote_eta is 1.0"),
        ({"name": "a@b"}, "name is 'a@b'; it must be a text without @"),
        ({"port": 70000}, "port is 70000; it must be from 0 to 65535"),
        ({"max_waiting": 0}, "max_waiting is 0; it must be at least 1"),
        ({"gather_s": -1.0}, "gather_s is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"style": "numbered"}, "step_ends is needed with style 'numbered'"),
        ({"scorer": 3}, r"scorer needs score_steps\(solutions\); int has none"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


def test_the_policy_is_named_on_the_command_line_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("policy: p\nscorer: s\nprompt: {template: 'Q: {question}'}\nstrategy: beam\n")
    from_file = parse_settings(ServeConfig, ["serve", "--config", str(tmp_path / "c.yaml"), "--strategy=best_of_n:n=2"])
    arguments = ["--policy", "p", "--scorer", "s", "--prompt.template", "Q: {question}", "--strategy", "best_of_n:n=2"]
    assert parse_settings(ServeConfig, ["serve", *arguments]) == from_file
    assert (from_file.model, from_file.prompt) == ("p", PromptFormat("Q: {question}"))
    with pytest.raises(UsageError, match="policy"):
        parse_settings(ServeConfig, ["serve", "--scorer", "s"])


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_told_with_the_extra_that_brings_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    message = rf"{package}.* pip install 'erprm\[serve\]'"
    with pytest.raises(MissingPackageError, match=message), serving(make_config(), EchoPolicy()):
        pass


def test_a_port_in_use_is_told_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = f"127.0.0.1:{port} cannot be listened at: Address already in use"
        with pytest.raises(OSError, match=message), serving(make_config(port=port, model="/nowhere")):
            pass


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown() -> None:
    for key in ("kéy", "a key\n", " a key"):
        with (
            pytest.raises(ValueError, match="api_key holds") as refused,
            serving(make_config(api_key=key), EchoPolicy()),
        ):
            pass
        assert key not in str(refused.value)


def test_a_chat_without_a_template_is_refused_at_the_start() -> None:
    config = make_config(prompt=PromptFormat(chat=True))
    with pytest.raises(ValueError, match=r"prompt\.chat is true, but tokenizer"), serving(config, EchoPolicy()):
        pass


def test_a_template_that_is_not_used_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with serving(make_config(), EchoPolicy("{{ messages }}")):
        assert "--prompt.chat true puts questions into it" in caplog.text


def test_a_policy_behind_a_url_is_asked_for_its_name_and_may_go_away_and_come_back(
    servers: Callable[..., FailingServer], tmp_path: Path
) -> None:
    tokenizer = make_word_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    statuses = iter((200, 503, 200))

    def answer(request: dict[str, Any]) -> tuple[int, Body]:
        words = ["so", "1", "2", "3", "\n", "####", "7", "</s>"]
        ids = tokenizer.convert_tokens_to_ids(words)
        choice = {"text": "so 1 2 3 \n #### 7", "token_ids": ids, "finish_reason": "stop"}
        return next(statuses), {"choices": [{"index": index, **choice} for index in range(request["n"])]}

    policy = servers(answer, root=str(tmp_path), max_model_len=64)
    config = make_config(model=policy.url, server=ServerOptions(retries=0))
    body = {"model": "policy", "messages": [{"role": "user", "content": "1 2 3 ="}]}
    with serving(config) as url:
        found = [httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60) for _ in range(3)]
    assert [each.status_code for each in found] == [200, 503, 200]
    assert "does not answer: server http://127.0.0.1" in found[1].json()["error"]["message"]
    assert found[2].json()["choices"][0]["message"]["content"].split() == ["so", "1", "2", "3", "####", "7"]
    assert {request["model"] for request in policy.requests} == {"policy"}


def test_the_address_of_a_policy_may_end_with_its_version() -> None:
    for policy in ("http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"):
        config = make_config(model=policy)
        assert (config.engine, config.server.base_url, config.server.retries) == ("openai", "http://a:1/v1", 2)
    arguments = ["serve", "--policy=http://a:1", "--scorer=s", "--server.concurrency=8"]
    server = parse_settings(ServeConfig, arguments).server
    assert (server.base_url, server.concurrency, server.retries) == ("http://a:1/v1", 8, 2)
