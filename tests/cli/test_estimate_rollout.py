import json
import socket
from pathlib import Path

import pytest

from erprm.cli import main
from tests.tiny import save_tiny_llama


@pytest.fixture
def config(tmp_path: Path) -> Path:
    save_tiny_llama(tmp_path / "policy")
    rows = [{"question": f"What is {i} and 4 more?", "answer": str(i + 4)} for i in range(12)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = tmp_path / "rollout.yaml"
    path.write_text(
        f"""
model: {tmp_path / "policy"}
output_dir: {tmp_path / "run"}
source: jsonl
path: {tmp_path / "problems.jsonl"}
device: cpu
solutions_per_problem: 2
completions_per_step: 2
max_tokens: 16
problems_per_shard: 5
"""
    )
    return path


def estimate(config: Path, *arguments: str) -> int:
    return main(["estimate", "rollout", "--config", str(config), *arguments])


def test_hours_and_cost_are_the_arithmetic_over_tokens(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["--tokens_per_second=0.5", "--devices=4", "--price=3", f"--json={tmp_path / 'numbers.json'}"]
    assert estimate(config, "--probe=6", *keys) == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert (numbers["problems"], numbers["shards"], numbers["probe"]["problems"]) == (12, 3, 6)
    assert numbers["solutions"] == {"value": 24, "low": 24, "high": 24}
    for end in ("value", "low", "high"):
        device_hours = numbers["completion_tokens"][end] / 0.5 / 3600
        assert numbers["device_hours"][end] == pytest.approx(device_hours)
        assert numbers["hours"][end] == pytest.approx(device_hours / 4)
        assert numbers["cost"][end] == pytest.approx(device_hours * 3)
    output = capsys.readouterr().out
    for text in ("All 12 problems", "tokens read", "3 shard(s) of 5 problems", "hours on 4 device(s)", "GB on disk"):
        assert text in output


def test_nothing_is_written_into_the_folder_of_the_run(config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert estimate(config, "--probe=2") == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--probe=1"], "probe is 1; it must be at least 2"),
        (["--devices=0"], "devices is 0; it must be at least 1"),
        (["--tokens_per_second=0"], "tokens_per_second is 0.0; it must be above 0"),
        (["--price=2"], "price is 2.0, but tokens_per_second is not set"),
        (["--completions_per_step=0"], "completions_per_step is 0; it must be at least 1"),
        (["--token_per_second=5"], "did you mean 'tokens_per_second'?"),
    ],
)
def test_a_wrong_key_ends_the_command(
    config: Path, capsys: pytest.CaptureFixture[str], keys: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        estimate(config, *keys)
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("key", ["model", "path"])
def test_what_is_not_there_is_named(config: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    assert estimate(config, f"--{key}=nowhere.jsonl") == 1
    assert "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["estimate", "rollout"], ["rollout"]])
def test_a_server_that_is_away_is_named(
    command: list[str], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    with socket.socket() as closed:  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        keys = [f"--server.base_url={url}", f"--server.tokenizer={tmp_path / 'policy'}", "--server.retries=0"]
        assert main([*command, "--config", str(config), "--engine=openai", "--device=auto", *keys]) == 1
    message = capsys.readouterr().err
    assert f"erprm {' '.join(command)}: server {url}" in message
    assert "after up to 0 retries: no usable answer" in message
