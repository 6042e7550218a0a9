"""Identities of data, models, tokenizers, settings and objects: were results made with the same ones?

Files, weights and tokenizers are told apart by content, models of the hub by the revision that is in use, and objects
by all their fields. What is written down is JSON, so a refusal can name the field that differs. A pickle's hash (as
``joblib.hash`` takes) could not, changes with the versions of libraries, and takes two lambdas for the same.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import io
import json
import math
import operator
import re
import sys
import types
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from erprm.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

Json = dict[str, Any]

CALIBRATION_FILE = "calibration.json"
"""A calibration beside a model, which is used on request only: no part of the model's own content."""

_BLOCK_BYTES = 1 << 20
_CONFIG_FILE = "config.json"


class IdentityError(InputError):
    """An object cannot be told from another one of its kind."""


# JSON values and files ----------------------------------------------------------------------------------------------


def sha256_of(chunks: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of bytes that come in chunks."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their keys."""
    return sha256_of([json.dumps(content, sort_keys=True).encode()])


def file_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, some at a time."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256_of(file_chunks(path))


def named_chunks(files: Iterable[Path]) -> Iterator[bytes]:
    """Names and bytes of files, for :func:`sha256_of`."""
    for file in files:
        yield file.name.encode()
        yield from file_chunks(file)


# Models and tokenizers ----------------------------------------------------------------------------------------------


def model_key(model: str, gguf_file: str | None = None) -> str:
    """Key of a model that changes when the model does.

    Args:
        model: local folder, hub id, or the name under which a server serves it.
        gguf_file: the one file of the folder that is read.

    Returns:
        SHA-256 of a folder's files, a calibration apart; of a hub id, ``id@commit`` with the commit that is read from
        here: the newest, or without a network that of the cache. Any other name stands for itself.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        own = (file for file in folder.iterdir() if file.is_file() and file.name != CALIBRATION_FILE)
        files = [folder / gguf_file] if gguf_file else sorted(own)
        return sha256_of(named_chunks(files))
    commit = hub_commit(model, gguf_file)
    return model if commit is None else f"{model}@{commit}"


def hub_commit(model: str, gguf_file: str | None = None) -> str | None:
    """The commit at which a model of the hub is read from here; ``None`` if it is neither reachable nor cached."""
    file = gguf_file or _CONFIG_FILE
    path = hub_file(model, file)
    # .../models--owner--name/snapshots/COMMIT/config.json
    return None if path is None else path.parents[file.count("/")].name


def hub_file(model: str, file: str) -> Path | None:
    """A file of a model of the hub, downloaded if needed; ``None`` if it is neither reachable nor cached."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, file))
    except (OSError, ValueError):  # not there, not to be reached, or not even a name that the hub could have
        return None


def policy_key(model: str, gguf_file: str | None, engine: str | Mapping[str, Any]) -> str:
    """As :func:`model_key`, of a policy; one that a server holds is known by its name alone, unless it is a folder."""
    return model if engine == "openai" and not Path(model).is_dir() else model_key(model, gguf_file)


def weight_chunks(
    weights: Mapping[str, Tensor], shape: type[list[int]] | type[tuple[int, ...]]
) -> Iterator[bytes | memoryview]:
    """Names, types, shapes and values of weights, for :func:`sha256_of`; a shape is written as a list or a tuple."""
    import torch

    for name, weight in sorted(weights.items()):
        yield f"{name} {weight.dtype} {shape(weight.shape)}".encode()
        yield weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> str:
    """Everything in a tokenizer that decides what a text or a chat is for a model, as JSON."""
    return json.dumps([_backend(tokenizer), getattr(tokenizer, "chat_template", None)], sort_keys=True)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of :func:`tokenizer_content`."""
    return sha256_of([tokenizer_content(tokenizer).encode("utf-8", "surrogatepass")])


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything in a tokenizer that decides how text becomes ids."""
    # What the tokenizer puts before a text is no part of some backends.
    begin = [tokenizer("")["input_ids"], tokenizer.eos_token_id]
    return content_hash([_backend(tokenizer), begin])


def _backend(tokenizer: PreTrainedTokenizerBase) -> Json:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content: Json = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if backend is None:
        return content
    # Calling a fast tokenizer with padding or truncation leaves these behind in it.
    return {key: value for key, value in content.items() if key not in ("padding", "truncation")}


# Objects ------------------------------------------------------------------------------------------------------------

_SIMPLE = (str, int, float, types.NoneType)
# Values of the standard library that their ``repr`` tells apart.
_BY_REPR = (
    complex,
    range,
    slice,
    decimal.Decimal,
    fractions.Fraction,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    uuid.UUID,
)
# Modules of these are told by weights and configuration; their other fields are their own business.
_MODEL_LIBRARIES = {"transformers", "peft", "erprm"}
_MODULE_LIBRARIES = {"torch", "lightning", "pytorch_lightning"}


def described(thing: object, name: str) -> Any:
    """An object as JSON values: its class and every field, so that what differs in a field differs here.

    A function or a class stands for its name, a path for its text, not for what lies there. An object may say itself
    what it is, with a method ``identity()`` that returns JSON values.

    Args:
        thing: the object.
        name: the setting that holds it, for messages.

    Raises:
        IdentityError: if a field cannot be told from another of its kind: a lambda, a function made within another, an
            open file, an object without fields. Names the field.
    """
    return _Description().of(thing, name)


def module_fields(module: nn.Module, name: str) -> Json:
    """Class and fields of a module and of those in it, but for the weights; see :func:`described`.

    Of a model of a library and of this package, weights and configuration say all that matters, but for ``score_eta``.
    """
    return _Description().of_module(module, name)


def setting_content(value: Any, name: str) -> Any:
    """A setting as JSON values: those of JSON stay as they are, anything else in it is :func:`described`."""
    if isinstance(value, Mapping):
        return {key: setting_content(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [setting_content(each, f"{name}[{number}]") for number, each in enumerate(value)]
    return described(value, name)


def setting_text(setting: str | Mapping[str, Any], name: str) -> str:
    """A name, or ``class_path`` with ``init_args`` as one text, so that an argument left out differs from one given."""
    if isinstance(setting, str):
        return setting
    return json.dumps(setting_content({"init_args": {}, **setting}, name), sort_keys=True)


class _Description:
    """One call of :func:`described`."""

    def __init__(self) -> None:
        self._above: set[int] = set()

    def of(self, value: Any, where: str) -> Any:
        if isinstance(value, _SIMPLE) and (isinstance(value, enum.Enum) or not getattr(value, "__dict__", None)):
            return {"float": "nan"} if isinstance(value, float) and math.isnan(value) else value
        if id(value) in self._above:
            raise _refusal(where, "refers to itself")
        self._above.add(id(value))
        try:
            return self._of(value, where)
        finally:
            self._above.discard(id(value))

    def _of(self, value: Any, where: str) -> Any:
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | types.FunctionType):
            return self._named(value, where)
        if callable(identity := getattr(value, "identity", None)):
            return {"class": class_name(value), **self._json(identity(), f"{where}.identity()")}
        if isinstance(value, enum.Enum):
            return {"enum": f"{class_name(value)}.{value.name}"}
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: value.hex()}
        if isinstance(value, _BY_REPR):
            return {type(value).__name__: repr(value)}
        if isinstance(value, re.Pattern):
            return {"pattern": self.of(value.pattern, where), "flags": value.flags}
        if isinstance(value, types.MethodType):
            return {"method": value.__func__.__qualname__, "of": self.of(value.__self__, f"{where}.__self__")}
        if isinstance(value, functools.partial):
            parts = {"of": value.func, "args": value.args, "keywords": value.keywords}
            return {"partial": {key: self.of(part, f"{where}.{key}") for key, part in parts.items()}}
        of_library = self._of_library(value, where)
        return of_library if of_library is not None else self._of_container(value, where)

    def _named(self, value: Any, where: str) -> Json:
        """Identity of an object given by name, provided that the name leads to it from anywhere."""
        module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
        path = "" if isinstance(value, types.ModuleType) else value.__qualname__
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | None):
            return {"method": path, "of": self.of(value.__self__, f"{where}.__self__")}
        if "<" in path:
            raise _refusal(where, "is a lambda" if path.endswith("<lambda>") else f"is {path}, made within a function")
        if isinstance(value, types.FunctionType) and not _leads_to(module, path, value):
            raise _refusal(where, f"is a function that {module}.{path} does not lead to")
        return {"type" if isinstance(value, type) else "function": f"{module}.{path}".rstrip(".")}

    def _json(self, value: Any, where: str) -> Json:
        try:
            content = json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            raise _refusal(where, f"is not JSON ({error})") from error
        return content if isinstance(content, dict) else {"identity": content}

    def _of_library(self, value: Any, where: str) -> Json | None:
        """Tensors, arrays, modules and tokenizers; ``None`` for anything else."""
        torch, numpy, transformers = (sys.modules.get(name) for name in ("torch", "numpy", "transformers"))
        if torch is not None and hasattr(torch, "nn"):
            if isinstance(value, torch.nn.Module):
                return {**self.of_module(value, where), "sha256": sha256_of(weight_chunks(value.state_dict(), list))}
            if isinstance(value, torch.Tensor):
                return {"tensor": sha256_of(weight_chunks({"": value}, list))}
            if isinstance(value, torch.dtype | torch.device):
                return {type(value).__name__: str(value)}
        if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
            if value.dtype.hasobject:
                return {"array": self.of(value.tolist(), where)}
            shape_and_type = f"{value.dtype} {list(value.shape)}".encode()
            return {"array": sha256_of([shape_and_type, value.tobytes()])}
        # The attribute would import much that no tokenizer needs, where it is not there yet.
        if transformers is not None and "transformers.tokenization_utils_base" in sys.modules:
            base = sys.modules["transformers.tokenization_utils_base"].PreTrainedTokenizerBase
            if isinstance(value, base):
                return {"class": class_name(value), "tokenizer": tokenizer_hash(value)}
        return None

    def of_module(self, module: nn.Module, where: str) -> Json:
        """Class and fields of a module and of those in it, but for the weights."""
        content: Json = {"class": class_name(module)}
        if any(cls.__module__.split(".")[0] in _MODEL_LIBRARIES for cls in type(module).__mro__):
            config = getattr(module, "config", None)
            if callable(to_dict := getattr(config, "to_dict", None)):
                known = {key: each for key, each in to_dict().items() if key not in _OF_CONFIG_NOT_CONTENT}
                content["config"] = sha256_of([json.dumps(known, sort_keys=True, default=str).encode()])
            if score_eta := getattr(module, "score_eta", 0.0):
                content["score_eta"] = score_eta
            return content
        internal = frozenset().union(*map(_internal_fields, type(module).__mro__))
        for name, value in vars(module).items():
            if name not in internal:
                content[name] = self.of(value, f"{where}.{name}")
        inner = {name: self.of_module(each, f"{where}.{name}") for name, each in module.named_children()}
        return {**content, "modules": inner} if inner else content

    def _of_container(self, value: Any, where: str) -> Json:
        """Containers, each under the name of its kind so that none looks like another; then objects."""
        fields = _fields(value)
        inherited: Json = {}
        if isinstance(value, Mapping):
            pairs = [
                [self.of(key, f"{where} (a key)"), self.of(each, f"{where}[{key!r}]")] for key, each in value.items()
            ]
            inherited = {"dict": pairs if isinstance(value, collections.OrderedDict) else _in_any_order(pairs)}
        elif isinstance(value, Set):
            inherited = {"set": _in_any_order([self.of(each, f"{where} (a member)") for each in value])}
        elif isinstance(value, list | tuple | collections.deque):
            kind = "tuple" if isinstance(value, tuple) else "list"
            inherited = {kind: [self.of(each, f"{where}[{number}]") for number, each in enumerate(value)]}
        elif isinstance(value, _SIMPLE):  # with fields of its own
            inherited = {"value": next(kind(value) for kind in (str, int, float) if isinstance(value, kind))}
        if inherited and type(value).__module__ == "builtins":
            return inherited
        if not inherited and (state := _state_elsewhere(value, where)) is not None:
            inherited = {"state": content_hash(self.of(state, where))}
        own = {name: self.of(field, f"{where}.{name}") for name, field in fields.items()}
        return {"class": class_name(value), **own, **inherited}


# Classes of this package that have moved: their identity is that of the place where they were first.
_EARLIER_NAMES = {
    "erprm.models.two_class.TokenClassificationRewardModel": (
        "erprm.models.heads.two_class.TokenClassificationRewardModel"
    ),
    "erprm.search.methods.beam.BeamSearch": "erprm.search.beam.BeamSearch",
    "erprm.search.methods.best_of_n.BestOfNSearch": "erprm.search.best_of_n.BestOfNSearch",
    "erprm.search.methods.step_rejection.StepRejection": "erprm.search.step_rejection.StepRejection",
}
_OF_CONFIG_NOT_CONTENT = {"_name_or_path", "transformers_version"}


@functools.cache
def _internal_fields(cls: type) -> frozenset[str]:
    """Fields that the base classes of modules keep for themselves in every object."""
    is_base = cls.__name__ in ("Module", "LightningModule") and cls.__module__.split(".")[0] in _MODULE_LIBRARIES
    return frozenset(vars(cls())) if is_base else frozenset()


def _fields(value: object) -> Json:
    """Every field of an object, those in ``__slots__`` included."""
    fields: Json = {}
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            attribute = f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            if hasattr(value, attribute):
                fields[attribute] = getattr(value, attribute)
    return {**fields, **getattr(value, "__dict__", {})}


def _state_elsewhere(value: object, where: str) -> list[Any] | None:
    """Pickled state of an object that keeps it elsewhere than in fields; ``None`` for any other object.

    Raises:
        IdentityError: if not even a pickle can hold it.
    """
    cls = type(value)
    if cls is object:
        raise _refusal(where, "is an object without fields")
    if isinstance(value, io.IOBase):
        raise _refusal(where, "is an open file")
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:  # A lock or a generator, say; a class of the user's may raise anything.
        raise _refusal(where, f"is a {class_name(value)}, which does not show what it holds ({error})") from error
    tells_fields = cls.__reduce_ex__ is object.__reduce_ex__ and cls.__reduce__ is object.__reduce__
    return None if tells_fields else list(reduced) if isinstance(reduced, tuple) else [reduced]


def _leads_to(module: str, path: str, function: types.FunctionType) -> bool:
    try:
        return operator.attrgetter(path)(sys.modules[module]) is function
    except (AttributeError, KeyError):
        return False


def _in_any_order(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: json.dumps(value, sort_keys=True))


def class_name(value: object) -> str:
    """Module and name of an object's class; of one that has moved, those that it had first."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return _EARLIER_NAMES.get(name, name)


def _refusal(where: str, why: str) -> IdentityError:
    return IdentityError(
        f"cannot tell whether {where} is the same in another run: it {why}. Give a value, a function of a module or an "
        "object with fields; or give the class a method identity() that returns JSON values"
    )
