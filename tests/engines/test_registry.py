"""Engines by name and by import path, the settings they take, and what tells one run's policy from another's."""

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.engines.registry import ENGINES, engine_content, open_engine
from erprm.engines.settings import EngineSettings, ServerOptions, VLLMOptions
from erprm.rollout.config import RolloutConfig
from erprm.rollout.pools import PoolSampling, cached_pool
from tests.engines.own_engine import EchoEngine

ECHO = "tests.engines.own_engine.EchoEngine"


def content_key(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def test_the_help_of_the_key_names_every_engine() -> None:
    section = (EngineSettings.__doc__ or "").partition("engine: ")[2].partition("gguf_file: ")[0]
    assert all(f"``{name}``" in section for name in (*ENGINES, "auto"))


def test_the_options_of_an_engine_are_keys_of_the_settings() -> None:
    settings = EngineSettings("policy")
    options = {name: getattr(settings, engine.options) for name, engine in ENGINES.items() if engine.options}
    assert options == {"vllm": VLLMOptions(), "openai": ServerOptions()}


@pytest.mark.parametrize(
    ("setting", "says"),
    [(ECHO, "so 1"), ({"class_path": ECHO}, "so 1"), ({"class_path": ECHO, "init_args": {"says": "so 2"}}, "so 2")],
)
def test_an_engine_of_ones_own_gets_the_model_and_its_arguments(setting: Any, says: str) -> None:
    with closing(open_engine(PoolSampling("mine", engine=setting))) as engine:
        assert isinstance(engine, EchoEngine)
        assert (engine.name, engine.says) == ("mine", says)


def test_a_name_as_class_path_is_the_name() -> None:
    assert PoolSampling("policy", engine={"class_path": "vllm"}).engine == "vllm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "vlm"}, r"engine is 'vlm'; it must be one of auto, transformers, .*; did you mean 'vllm'\?"),
        ({"engine": "no_such.Engine"}, r"engine: 'no_such\.Engine' cannot be imported: No module named 'no_such'"),
        ({"engine": {"path": ECHO}}, r"engine is \{'path': .*\}; it must be one of"),
        ({"engine": "tests.engines.own_engine.NoEngine"}, "engine names NoEngine, which has no method generate"),
        ({"engine": "tests.engines.own_engine.__doc__"}, "it must be a class of engines, or a function"),
        (
            {"engine": {"class_path": ECHO, "init_args": {"say": "so 2"}}},
            "'say'; EchoEngine takes",
        ),
        (
            {"engine": {"class_path": ECHO, "init_args": {"model": "x"}}},
            r"engine\.init_args has model; these are separate keys",
        ),
        ({"engine": {"class_path": "vllm", "init_args": {"max_model_len": 9}}}, r"engine\.init_args has max_model_len"),
        ({"engine": ECHO, "device": "cuda:1"}, "device is 'cuda:1'; with engine=EchoEngine it must stay auto"),
        ({"engine": ECHO, "gguf_file": "a.gguf"}, r"gguf_file is 'a\.gguf'; GGUF files are for engine=transformers"),
    ],
)
def test_a_setting_that_names_no_engine_is_refused_before_anything_is_loaded(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoolSampling("policy", **changes)


@pytest.mark.parametrize(
    ("engine", "changes", "rollout", "pool"),
    [
        ("transformers", {}, "57da0e12ae0c92fc", "27fb30aae19380c7"),
        (
            "vllm",
            {"vllm": VLLMOptions(2, 64, arguments={"quantization": "fp8", "a": 1})},
            "e33cc10885305db2",
            "6f4c66eb8a9d44d2",
        ),
        (
            "openai",
            {"server": ServerOptions("http://localhost:1/v1", "tok", max_model_len=99)},
            "b970fa18349e357e",
            "d169c863b6dec43e",
        ),
    ],
)
def test_runs_of_earlier_versions_are_continued(engine: str, changes: Any, rollout: str, pool: str) -> None:
    # Keys that the version before the settings had one base gave to the same settings.
    config = RolloutConfig("policy", "out", engine=engine, dtype="bfloat16", **changes)
    assert content_key(config.content_settings()) == rollout
    assert content_key(engine_content(PoolSampling("policy", engine=engine, **changes))) == pool


def write_problems(folder: Path) -> Path:
    file = folder / "problems.jsonl"
    rows = [{"question": "1 + 0 =", "answer": "1"}, {"question": "1 + 1 =", "answer": "2"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def rollout(folder: Path, says: str) -> int:
    settings = {
        "model": "mine",
        "output_dir": str(folder / "run"),
        "source": "jsonl",
        "path": str(write_problems(folder)),
        "engine": {"class_path": ECHO, "init_args": {"says": says}},
        "solutions_per_problem": 1,
        "completions_per_step": 1,
    }
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return main(["rollout", "--config", str(folder / "config.yaml")])


def test_rollout_runs_an_engine_of_ones_own_and_refuses_to_go_on_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rollout(tmp_path, "so 1 \n #### 1") == 0
    assert [record.correct for record in read_records(tmp_path / "run")] == [True, False]
    assert rollout(tmp_path, "so 2 \n #### 2") == 1
    assert "engine: " in capsys.readouterr().err


def test_a_pool_of_ones_own_engine_is_sampled_again_once_its_fingerprint_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PoolSampling("mine", 2, source="jsonl", path=str(write_problems(tmp_path)), engine=ECHO)
    first = cached_pool(settings, tmp_path)
    rows = [json.loads(line) for line in first.read_text(encoding="utf-8").splitlines()]
    assert [row["candidates"] for row in rows] == [["so 1", "so 1"]] * 2
    assert cached_pool(settings, tmp_path) == first
    monkeypatch.setattr(EchoEngine, "fingerprint", lambda self: "another")
    assert cached_pool(settings, tmp_path) != first
