import collections
import decimal
import enum
import functools
import hashlib
import io
import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import huggingface_hub.constants
import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from erprm.data.pools import PoolProblem, pool_fingerprint
from erprm.data.sources import Problem
from erprm.data.step_labels import LabelledSolution, labels_fingerprint
from erprm.models import TokenClassificationRewardModel
from erprm.models.identity import model_identity, scorer_identity
from erprm.raft.selectors import scorer_key
from erprm.runs.identity import (
    IdentityError,
    class_name,
    content_hash,
    described,
    model_key,
    policy_key,
    setting_content,
    tokenizer_content,
    tokenizer_fingerprint,
)
from erprm.search import BeamSearch
from erprm.steps import Solution
from tests.tiny import make_tokenizer


class Setting:
    """An object with one field."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Slots:
    __slots__ = ("__secret", "value")

    def __init__(self, value: Any, secret: Any) -> None:
        self.value, self.__secret = value, secret


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (1, 2)
    names: dict[str, list[str]] = field(default_factory=dict)


class Pair(NamedTuple):
    one: int
    other: int


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Mode(str, enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Weights(dict[str, float]):
    """A dict with a field."""

    def __init__(self, scale: float, **weights: float) -> None:
        super().__init__(**weights)
        self.scale = scale


class Scorer(nn.Module):
    def __init__(self, weight: float, cut: tuple[float, ...]) -> None:
        super().__init__()
        self.weight, self.cut = nn.Parameter(torch.tensor(weight)), cut

    def score_steps(self, solutions: Any) -> list[torch.Tensor]:
        return []


def one_rule(text: str) -> bool:
    return bool(text)


def other_rule(text: str) -> bool:
    return not text


def itself() -> Setting:
    made = Setting(None)
    made.value = [made]
    return made


def drawn(module: nn.Module, **fields: Any) -> nn.Module:
    for name, value in fields.items():
        setattr(module, name, value)
    return module


DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "text": (lambda: "a", lambda: "b"),
    "number": (lambda: 0.5, lambda: 0.25),
    "none and zero": (lambda: None, lambda: 0),
    "none and an empty dict": (lambda: None, dict),
    "not a number": (lambda: math.nan, lambda: math.inf),
    "tuple": (lambda: (1, 2), lambda: (1, 3)),
    "list": (lambda: [1, 2], lambda: [2, 1]),
    "list and tuple": (lambda: [1], lambda: (1,)),
    "dict value": (lambda: {"a": 1}, lambda: {"a": 2}),
    "dict key": (lambda: {"a": 1}, lambda: {"b": 1}),
    "dict with a None": (dict, lambda: {"a": None}),
    "dict with numbers as keys": (lambda: {1: "a"}, lambda: {"1": "a"}),
    "set": (lambda: {1, 2}, lambda: {1, 3}),
    "frozen set": (lambda: frozenset({"a"}), lambda: frozenset({"b"})),
    "path": (lambda: Path("a/b"), lambda: Path("a/c")),
    "path and text": (lambda: Path("a"), lambda: "a"),
    "bytes": (lambda: b"a", lambda: b"b"),
    "range": (lambda: range(3), lambda: range(4)),
    "decimal": (lambda: decimal.Decimal("0.1"), lambda: decimal.Decimal("0.2")),
    "dataclass": (lambda: Inner((1, 2)), lambda: Inner((1, 3))),
    "nested in a dataclass": (lambda: Inner(names={"a": ["x"]}), lambda: Inner(names={"a": ["y"]})),
    "enum": (lambda: Colour.RED, lambda: Colour.BLUE),
    "enum of texts": (lambda: Mode.FAST, lambda: Mode.SLOW),
    "object": (lambda: Setting(Setting((1,))), lambda: Setting(Setting((2,)))),
    "class of an object": (lambda: Setting(1), lambda: SimpleNamespace(value=1)),
    "slot": (lambda: Slots(1, 2), lambda: Slots(3, 2)),
    "private slot": (lambda: Slots(1, 2), lambda: Slots(1, 3)),
    "named tuple": (lambda: Pair(1, 2), lambda: Pair(1, 3)),
    "deque": (lambda: collections.deque([1]), lambda: collections.deque([2])),
    "dict with a field": (lambda: Weights(1.0, a=1.0), lambda: Weights(2.0, a=1.0)),
    "content of a dict with a field": (lambda: Weights(1.0, a=1.0), lambda: Weights(1.0, a=2.0)),
    "function": (lambda: one_rule, lambda: other_rule),
    "builtin": (lambda: len, lambda: sum),
    "method": (lambda: "a".join, lambda: "b".join),
    "method of an object": (lambda: Weights(1.0).get, lambda: Weights(2.0).get),
    "partial": (lambda: functools.partial(int, base=2), lambda: functools.partial(int, base=3)),
    "type": (lambda: int, lambda: str),
    "pattern": (lambda: re.compile("a"), lambda: re.compile("b")),
    "flag of a pattern": (lambda: re.compile("a"), lambda: re.compile("a", re.IGNORECASE)),
    "array": (lambda: np.array([1, 2]), lambda: np.array([1, 3])),
    "type of an array": (lambda: np.zeros(1, np.int32), lambda: np.zeros(1, np.float32)),
    "tensor": (lambda: torch.tensor([1.0, 2.0]), lambda: torch.tensor([1.0, 3.0])),
    "shape of a tensor": (lambda: torch.zeros(2, 3), lambda: torch.zeros(3, 2)),
    "dtype": (lambda: torch.float32, lambda: torch.float16),
    "weights": (lambda: Scorer(1.0, ()), lambda: Scorer(2.0, ())),
    "field of a module": (lambda: drawn(nn.ReLU(), cut=(1,)), lambda: drawn(nn.ReLU(), cut=(2,))),
    "field of an inner module": (lambda: nn.Sequential(nn.Dropout(0.1)), lambda: nn.Sequential(nn.Dropout(0.2))),
    "tokenizer": (make_tokenizer, lambda: with_token("<new>")),
}


def with_token(text: str) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([text])
    return tokenizer


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_field_of_each_kind_tells_one_object_from_another(kind: str) -> None:
    one, other = (json.loads(json.dumps(described(Setting(make()), "mine"))) for make in DIFFERENT[kind])
    assert one != other


@pytest.mark.parametrize("kind", DIFFERENT)
def test_an_object_made_again_is_the_same(kind: str) -> None:
    make, _ = DIFFERENT[kind]
    assert described(Setting(make()), "mine") == described(Setting(make()), "mine")


def test_the_order_in_which_a_dict_or_a_set_was_filled_is_no_difference() -> None:
    assert described({"a": 1, "b": 2}, "mine") == described({"b": 2, "a": 1}, "mine")
    assert described({"one", "two", "three"}, "mine") == described({"three", "two", "one"}, "mine")


def closure(least: int) -> Callable[[int], bool]:
    def rule(value: int) -> bool:
        return value > least

    return rule


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: lambda text: text, "mine.value is the same in another run: it is a lambda"),
        (lambda: closure(3), r"it is closure\.<locals>\.rule, made within a function"),
        (lambda: functools.wraps(one_rule)(closure(3)), "a function that .*one_rule does not lead to"),
        (lambda: io.StringIO("text"), "it is an open file"),
        (lambda: threading.Lock(), r"it is a _thread\.lock, which does not show what it holds"),
        (lambda: (number for number in range(3)), "which does not show what it holds"),
        (object, "it is an object without fields"),
        (itself, r"mine\.value\.value\[0\] is the same in another run: it refers to itself"),
        (lambda: {"rules": [one_rule, lambda text: text]}, r"mine\.value\['rules'\]\[1\] is the same"),
        (lambda: nn.Sequential(drawn(nn.ReLU(), rule=lambda text: text)), r"mine\.value\.0\.rule is the same"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_the_name_of_the_field(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(IdentityError, match=f"cannot tell whether.*{why}.*method identity"):
        described(Setting(make()), "mine")


def test_an_object_that_says_itself_what_it_is_is_taken_at_its_word() -> None:
    class Client:
        def __init__(self, name: str) -> None:
            self.name, self.lock = name, threading.Lock()

        def identity(self) -> dict[str, Any]:
            return {"name": self.name, "sizes": (1, 2)}

    assert described(Setting(Client("a")), "mine")["value"] == {
        "class": f"{Client.__module__}.{Client.__qualname__}",
        "name": "a",
        "sizes": [1, 2],
    }
    with pytest.raises(IdentityError, match=r"mine\.identity\(\) is the same in another run: it is not JSON"):
        described(drawn(nn.Identity(), identity=lambda: {"lock": threading.Lock()}), "mine")


def test_settings_of_json_stay_as_they_are_and_others_are_described() -> None:
    setting = {"class_path": "x.Y", "init_args": {"a": [1, None, {"b": 0.5}], "c": True}}
    assert setting_content(setting, "grading") == setting
    assert setting_content({"init_args": {"at": Path("a")}}, "grading") == {"init_args": {"at": {"path": "a"}}}
    with pytest.raises(IdentityError, match=r"grading\.init_args\.rule is the same"):
        setting_content({"init_args": {"rule": lambda text: text}}, "grading")


# Scorers --------------------------------------------------------------------------------------------------------------


def test_a_scorer_with_weights_is_told_by_its_fields_too() -> None:
    same, again, other_weight, other_field = (
        scorer_identity(Scorer(*made), "scorer") for made in [(1.0, (1.0,)), (1.0, (1.0,)), (2.0, (1.0,)), (1.0, ())]
    )
    assert same == again
    assert same["cut"] == {"tuple": [1.0]}
    assert same != other_weight
    assert same != other_field


# Values that the code of commit b8531c3 gave ------------------------------------------------------------------------


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"\x00\x01")
    (folder / "x.gguf").write_bytes(b"gguf")
    return folder


def test_hashes_are_those_of_folders_that_were_written_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "identity-folder")
    assert model_key("identity-folder") == "1604df7a113955019335880be50f8abdc6bfb0946e32a73998cb823877a3cc11"
    assert model_key("identity-folder", "x.gguf") == (
        "21244a8142eea015413cbacc8124d8687e5134444b10d33a08e25e5314565695"
    )
    assert scorer_key({"class_path": "x.Y", "init_args": {"n": 3, "deep": {"a": [1, 2]}}}) == (
        "9e5126c5a111b54f0e5f9b77df302a83f435943ea24cd24c41feba22539b6bca"
    )
    assert scorer_key({"class_path": "x.Y", "init_args": {"model": "identity-folder"}}) == (
        "d80e7f4569033cecc6da13c641a8762f05587864350b3f976e70e658ed780284"
    )
    assert content_hash({"b": 1, "a": [None, True, 0.5, "ä"]}) == (
        "64d2de0b5f5140688f020c056ad017e115df33ccda9715ff7587316c4b231cdb"
    )
    assert pool_fingerprint([PoolProblem(Problem("p", "q ä", "1", "s"), ("a", "b"))]) == (
        "b4e2e5b245975cb994f336980e97ad7c62236a08324ec2defb89660a54000211"
    )
    assert labels_fingerprint([LabelledSolution(Solution("q", ("s", "t")), cast(Any, [True, False]))]) == (
        "fe149c49ca82275fad68f93717317da56790c3ddac9d3771cf96d18da3d37e12"
    )


class Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(6.0).reshape(2, 3).to(torch.bfloat16))
        self.register_buffer("b", torch.tensor(2))


def test_weights_in_memory_have_the_hash_that_they_had_before() -> None:
    assert model_identity(Module())["sha256"] == "f682ce61e61063b17d8bfeb4fa6277d35e49a21557b3097386ef2b095033b287"


def test_a_tokenizer_s_hash_is_of_its_content_but_for_how_it_was_called_last() -> None:
    class Tokenizer:
        backend_tokenizer = SimpleNamespace(to_str=lambda: '{"b": 1, "padding": 3, "truncation": null, "a": "x"}')
        chat_template = "{{ messages }}"
        eos_token_id = 2

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [1]}

    tokenizer: Any = Tokenizer()
    assert tokenizer_content(tokenizer) == '[{"a": "x", "b": 1}, "{{ messages }}"]'
    expected = hashlib.sha256(b'[{"a": "x", "b": 1}, [[1], 2]]').hexdigest()
    assert tokenizer_fingerprint(tokenizer) == expected


# Models of the hub ----------------------------------------------------------------------------------------------------


def test_a_model_of_the_hub_is_told_by_the_commit_that_is_read_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    for commit in ("1" * 40, "2" * 40):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")
        (repository / "refs/main").write_text(commit, encoding="utf-8")
        assert model_key("owner/name") == f"owner/name@{commit}"
    assert model_key("owner/other") == "owner/other"
    assert model_key("http://localhost:8000") == "http://localhost:8000"
    assert policy_key("owner/name", None, "openai") == "owner/name"


def test_a_folder_named_deep_in_a_scorer_s_arguments_is_told_by_content(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    setting = {"class_path": "x.Y", "init_args": {"models": [{"path": str(folder)}]}}
    before = scorer_key(setting)
    (folder / "model.safetensors").write_bytes(b"\x00\x02")
    assert scorer_key(setting) != before


@pytest.mark.parametrize(
    ("cls", "first_name"),
    [
        (TokenClassificationRewardModel, "erprm.models.heads.two_class.TokenClassificationRewardModel"),
        (BeamSearch, "erprm.search.beam.BeamSearch"),
    ],
)
def test_a_class_that_has_moved_keeps_its_name_in_results(cls: type, first_name: str) -> None:
    assert class_name(object.__new__(cls)) == first_name
