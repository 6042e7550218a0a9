"""Values of keys: null where a value is needed, and overriding what a file says of a class."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml

from erprm.ablation.config import AblateConfig
from erprm.cli import main
from erprm.cli.commands import CommandParser, key_of, parse_settings
from erprm.cli.convert import ConvertConfig
from erprm.cli.data import StatsConfig
from erprm.cli.demo import DemoConfig
from erprm.cli.export import ExportConfig
from erprm.cli.lightning import ErprmArgumentParser
from erprm.cli.merge import MergeConfig
from erprm.cli.report import ReportConfig
from erprm.cli.rollout import RolloutCommand
from erprm.cli.score import ScoreConfig
from erprm.data import ProcessRewardDataModule
from erprm.errors import UsageError, UserError
from erprm.estimate.config import RolloutEstimateConfig
from erprm.eta import read_etas
from erprm.grpo import GrpoConfig
from erprm.models import ProcessRewardModel
from erprm.raft.config import RaftConfig
from erprm.rollout.config import RolloutConfig
from erprm.search.config import SearchConfig
from erprm.search.protocol import Budget, SearchSteps
from erprm.serve import ServeConfig

MODEL = {"model": "m", "output_dir": "out"}
# Settings of each command: their class, values of the keys that have no default, and arguments in front.
COMMANDS: dict[str, tuple[type[Any], dict[str, Any], list[str]]] = {
    "rollout": (RolloutCommand, MODEL, []),
    "search": (SearchConfig, {**MODEL, "scorer": "s"}, []),
    "serve": (ServeConfig, {"policy": "p", "scorer": "s"}, []),
    "raft": (RaftConfig, {**MODEL, "selector": "oracle"}, []),
    "grpo": (GrpoConfig, {**MODEL, "scorer": "s"}, []),
    "ablate": (AblateConfig, {"fit": "f.yaml", "pool": "p.jsonl"}, []),
    "score": (ScoreConfig, {"model": "m", "question": "q", "solution": "s"}, []),
    "convert": (ConvertConfig, {}, ["in.jsonl", "out.parquet"]),
    "data stats": (StatsConfig, {}, ["in.jsonl"]),
    "report": (ReportConfig, {}, ["run"]),
    "merge": (MergeConfig, {}, ["out", "part"]),
    "demo": (DemoConfig, {}, []),
    "export": (ExportConfig, {"ckpt_path": "c.ckpt", "output": "out"}, []),
    "estimate rollout": (RolloutEstimateConfig, MODEL, []),
}


def paths_of(settings: type[Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Path, type and default of every key, those of nested settings included."""
    types = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if field.name == "_" or field.metadata.get("positional"):
            continue
        path = (*before, key_of(field))
        yield path, types[field.name], field.default
        if dataclasses.is_dataclass(types[field.name]):
            yield from paths_of(types[field.name], path)


def with_null(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = path
    return {**values, first: with_null(values.get(first) or {}, tuple(rest)) if rest else None}


@pytest.mark.parametrize("command", COMMANDS)
def test_null_is_taken_by_each_key_that_can_be_null_and_refused_by_name_by_the_others(
    command: str, tmp_path: Path
) -> None:
    settings, values, arguments = COMMANDS[command]
    refused = []
    parser = CommandParser(settings)
    for path, annotation, default in paths_of(settings):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(with_null(values, path)))
        name = ".".join(path)
        try:
            parser.parse_args([*arguments, "--config", str(tmp_path / "c.yaml")])
        except UsageError as error:
            told = str(error)
            assert f"{name} is null; it must be" in told or f"required: {name}" in told
            assert len(told.splitlines()) == 1
            refused.append(name)
        else:
            assert type(None) in typing.get_args(annotation) or default is None
    assert refused or command == "merge"


def test_null_in_fit_is_refused_where_the_default_is_not_null() -> None:
    parser = ErprmArgumentParser()
    parts = {"model": ProcessRewardModel, "data": ProcessRewardDataModule, "trainer": L.Trainer}
    for part, cls in parts.items():
        parser.add_class_arguments(cls, part, fail_untyped=False, instantiate=False)
    needed: dict[str, dict[str, Any]] = {"model": {"backbone": "m"}}
    for part, cls in parts.items():
        for name, parameter in inspect.signature(cls).parameters.items():
            given = {**needed, part: {**needed.get(part, {}), name: None}}
            takes_null = parameter.default is None or re.search("None|Optional|Any", str(parameter.annotation))
            if takes_null and parameter.default is not inspect.Parameter.empty:
                parser.parse_object(given)
            else:
                with pytest.raises(UsageError, match=rf"{part}\.{name}( is null; it must be|$)"):
                    parser.parse_object(given)


def test_null_in_a_file_ends_fit_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("model: {backbone: m}\ndata: {rollouts: r, max_length: null}\n")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(tmp_path / "c.yaml")])
    assert "max_length is null; it must be an integer (leave it out for the default)" in capsys.readouterr().err


class Echo:
    """An engine of the user's."""

    def __init__(self, text: str = "a", times: int = 1) -> None:
        self.text, self.times = text, times

    def generate(self, prompts: Any, sampling: Any) -> Any:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return "echo"

    def close(self) -> None:
        pass


class Loud(Echo):
    def __init__(self, text: str = "b", volume: int = 1) -> None:
        super().__init__(text)
        self.volume = volume


ECHO, LOUD = f"{__name__}.Echo", f"{__name__}.Loud"
GIVEN = {"class_path": ECHO, "init_args": {"text": "hi", "times": 2}}
OVERRIDES: list[tuple[list[str], Any]] = [
    (["--engine.init_args.times", "3"], {"class_path": ECHO, "init_args": {"text": "hi", "times": 3}}),
    (["--engine.init_args.times=3"], {"class_path": ECHO, "init_args": {"text": "hi", "times": 3}}),
    (["--engine.times", "3"], {"class_path": ECHO, "init_args": {"text": "hi", "times": 3}}),
    (
        ["--engine.init_args.times", "3", "--engine.init_args.text", "x"],
        {"class_path": ECHO, "init_args": {"text": "x", "times": 3}},
    ),
    (["--engine.class_path", LOUD], {"class_path": LOUD, "init_args": {"text": "hi"}}),
    (["--engine", LOUD], {"class_path": LOUD, "init_args": {"text": "hi"}}),
    (
        ["--engine", LOUD, "--engine.init_args.volume", "4"],
        {"class_path": LOUD, "init_args": {"text": "hi", "volume": 4}},
    ),
    (["--engine", f"{{class_path: {LOUD}}}"], {"class_path": LOUD, "init_args": {"text": "hi"}}),
    (
        ["--engine", f"{{class_path: {ECHO}, init_args: {{times: 3}}}}"],
        {"class_path": ECHO, "init_args": {"text": "hi", "times": 3}},
    ),
    (["--engine", "transformers"], "transformers"),
]


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (RolloutConfig, MODEL),
        (SearchConfig, {**MODEL, "scorer": "s"}),
        (RaftConfig, {**MODEL, "selector": "oracle"}),
        (RolloutEstimateConfig, MODEL),
    ],
    ids=["rollout", "search", "raft", "estimate"],
)
def test_the_command_line_goes_over_the_engine_of_the_file(
    settings: type[Any], more: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**more, "engine": GIVEN}))
    parser = CommandParser(settings)
    for arguments, expected in OVERRIDES:
        assert parser.parse_args(["--config", str(tmp_path / "c.yaml"), *arguments]).engine == expected, arguments


def test_the_command_line_goes_over_the_engine_of_a_pool_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"fit": "f.yaml", "pool": {"model": "m", "engine": GIVEN}}))
    parser = CommandParser(AblateConfig)
    for arguments, expected in [*OVERRIDES[:4], OVERRIDES[-1]]:
        keys = [argument.replace("--engine", "--pool.engine", 1) for argument in arguments]
        assert parser.parse_args(["--config", str(tmp_path / "c.yaml"), *keys]).pool.engine == expected, arguments


def test_a_file_that_is_named_later_goes_over_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**MODEL, "engine": GIVEN}))
    arguments = ["rollout", "--engine.class_path", ECHO, "--engine.init_args.times", "9"]
    assert parse_settings(RolloutConfig, [*arguments, "--config", str(tmp_path / "c.yaml")]).engine == GIVEN


def test_other_keys_that_hold_mappings_are_set_place_by_place() -> None:
    arguments = ["--grading.class_path", ECHO, "--grading.init_args.times", "3", "--vllm.arguments.a.b", "1"]
    parsed = parse_settings(RolloutConfig, ["rollout", "--model", "m", "--output_dir", "out", *arguments])
    assert parsed.grading == {"class_path": ECHO, "init_args": {"times": 3}}
    assert parsed.vllm.arguments == {"a": {"b": 1}}


ETAS = [("inf", "inf"), ("+inf", "inf"), (".inf", "inf"), ("hard", "inf"), ("-.inf", "-inf"), ("soft", "0"), ("2", "2")]


@pytest.mark.parametrize(("eta", "number"), ETAS)
def test_an_eta_may_be_a_word_in_fit(eta: str, number: str, tmp_path: Path) -> None:
    parser = ErprmArgumentParser()
    parser.add_argument("-c", "--config", action="config")
    parser.add_subclass_arguments(ProcessRewardDataModule, "data")
    parser.set_defaults({"data": {"class_path": "erprm.data.ProcessRewardDataModule"}})
    (tmp_path / "c.yaml").write_text(f"data: {{eta: {eta}}}\n")
    for arguments in (["--data.eta", eta], ["--config", str(tmp_path / "c.yaml")]):
        made = parser.instantiate_classes(parser.parse_args(arguments)).data
        assert made.eta == float(number)


@pytest.mark.parametrize(("eta", "number"), ETAS)
def test_an_eta_may_be_a_word_in_other_commands(eta: str, number: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"eta: {eta}\n")
    for arguments in (["--eta", eta], ["--config", str(tmp_path / "c.yaml")]):
        parsed = parse_settings(ConvertConfig, ["convert", "in.jsonl", "out.jsonl", *arguments])
        assert parsed.eta == float(number)
    (tmp_path / "c.yaml").write_text(f"etas: [1, {eta}]\n")
    for arguments in (["--etas", f"1,{eta}"], ["--etas", f"[1, {eta}]"], ["--config", str(tmp_path / "c.yaml")]):
        assert read_etas(parse_settings(ReportConfig, ["report", "run", *arguments]).etas) == [1.0, float(number)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--model.backbone", "m", "--data.eta", "word"],
        ["convert", "in.jsonl", "out.jsonl", "--eta", "word"],
        ["convert", "in.jsonl", "out.jsonl", "--eta", ".nan"],
        ["report", "run", "--etas", "0,word"],
        ["data", "stats", "in.jsonl", "--etas", "[0, word]"],
        ["ablate", "--fit", "f.yaml", "--pool", "p.jsonl", "--etas", "0,word"],
    ],
    ids=" ".join,
)
def test_another_word_for_eta_ends_every_command_with_what_is_accepted(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert re.search("is (nan|'word'); it must be a number, inf, -inf, soft .* or hard", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("trainer: null\n", "trainer is null; it must be keys and their values"),
        ("trainer: 3\n", "trainer is 3; it must be keys and their values"),
        ("trainer: {accelerator: cpu, devices: -3}\n", "trainer: `devices` selected with"),
        ("trainer: {strategy: nope}\n", "trainer: You selected an invalid strategy name"),
        ("trainer: {callbacks: [{class_path: erprm.callbacks.BestOfM}]}\n", "has no attribute 'BestOfM'"),
        ("trainer: {callbacks: [{class_path: erprm.BestOfN, init_args: {candidates: f, limit: 0}}]}\n", "no attribute"),
        ("data: {rollouts: r, max_tokens: 9999999999999999999}\n", "max_tokens is 9999999999999999999; it must be an"),
        ("data: {max_length: 0}\n", "data.max_length is 0; it must be in [1, data.max_tokens=4096]"),
        ("seed_everything: word\n", 'seed_everything":\n  expected bool or int, found word'),
        ("data: 3\n", "Not a valid subclass of ProcessRewardDataModule"),
    ],
)
def test_what_a_class_of_a_configuration_refuses_is_told_in_lines(
    config: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("model: {backbone: m}\n" + config)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(tmp_path / "c.yaml")])
    said = capsys.readouterr().err
    assert message in said
    assert len(said[said.index("erprm fit: ") :].splitlines()) <= 5


class Strict:
    """A search of the user's, which fails as a program does."""

    def __init__(self, width: int = 1) -> None:
        raise ValueError(f"width is {width}")

    def search(self, budget: Budget) -> SearchSteps:
        raise NotImplementedError


def test_an_error_in_a_class_of_the_users_keeps_its_traceback() -> None:
    arguments = [
        "--model",
        "m",
        "--scorer",
        "s",
        "--output_dir",
        "out",
        "--methods.mine.class_path",
        f"{__name__}.Strict",
    ]
    with pytest.raises(ValueError, match="width is 1") as raised:
        parse_settings(SearchConfig, ["search", *arguments])
    assert not isinstance(raised.value, UserError)
    assert raised.traceback[-1].name == "__init__"
