"""Help texts of inherited keys: in the docstrings, and in the parsers of the commands."""

import dataclasses
import importlib
from typing import Any

import pytest
from docstring_parser import DocstringStyle, parse

from erprm.cli.commands import CommandParser
from erprm.engines.settings import EngineSettings, ServerConnection, ServerOptions, VLLMOptions
from erprm.inherited_help import inherits_help


@inherits_help
@dataclasses.dataclass
class Base:
    """What a base is for.

    Attributes:
        first: of the base,
            on two lines.
        second: of the base.
    """

    first: int = 0
    second: int = 0


@inherits_help
@dataclasses.dataclass
class Child(Base):
    """What a child is for.

    Attributes:
        second: of the child.
        third: of the child.
    """

    third: int = 0


@inherits_help
@dataclasses.dataclass
class Grandchild(Child):
    """What a grandchild is for."""


def help_of(settings: type) -> dict[str, str]:
    params = parse(settings.__doc__ or "", DocstringStyle.GOOGLE).params
    return {param.arg_name: " ".join((param.description or "").split()) for param in params}


def test_a_grandchild_has_the_help_of_all_keys_and_an_own_text_counts() -> None:
    expected = {"first": "of the base, on two lines.", "second": "of the child.", "third": "of the child."}
    assert help_of(Child) == help_of(Grandchild) == expected
    assert (Grandchild.__doc__ or "").startswith("What a grandchild is for.\n")


# Where a command says more of a key of the engine than its base does.
OWN_TEXTS = {
    ("raft", "model"): "the initial policy: local folder or hub id.",
    ("raft", "device"): "``auto`` (a GPU if there is one) or a torch device, for sampling and scoring.",
    ("raft", "dtype"): "``auto`` or the name of a torch dtype, of the policy where it samples and is scored.",
    (
        "search",
        "device",
    ): "``auto`` (a GPU if there is one) or a torch device, for the policy and for a scorer that is a model.",
    ("search", "dtype"): "``auto`` or the name of a torch dtype, of the policy.",
}
COMMANDS = {
    "rollout": "erprm.cli.rollout.RolloutCommand",
    "estimate rollout": "erprm.estimate.config.RolloutEstimateConfig",
    "raft": "erprm.raft.config.RaftConfig",
    "search": "erprm.search.config.SearchConfig",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_that_samples_has_its_help(command: str) -> None:
    module, _, name = COMMANDS[command].rpartition(".")
    settings: Any = getattr(importlib.import_module(module), name)
    shown = {action.dest: " ".join((action.help or "").split()) for action in CommandParser(settings)._actions}
    assert all(shown.values())
    for key, text in help_of(EngineSettings).items():
        if key not in ("vllm", "server"):
            assert shown[key] == OWN_TEXTS.get((command, key), text), key
    for group, options in (("vllm", VLLMOptions), ("server", ServerOptions)):
        assert {key: shown[f"{group}.{key}"] for key in help_of(options)} == help_of(options)
    assert shown["server.timeout_s"] == help_of(ServerConnection)["timeout_s"]
