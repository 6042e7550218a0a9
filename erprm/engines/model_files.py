"""Checks and loads model folders: configuration, tokenizer and weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

BESIDE_FILE = "beside_backbone.safetensors"
"""What a module has beside its backbone, such as a head of its own."""

_WEIGHTS = ("*.safetensors", "*.bin")
_INDEX, _TOKENIZER = "model.safetensors.index.json", "tokenizer.json"
# Files of a model folder that hold one object.
_OBJECTS = {
    _INDEX,
    _TOKENIZER,
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
}
_LFS_POINTER = b"version https://git-lfs"


class BackboneError(InputError):
    """A model that cannot be loaded, or does not fit; the message names the folder, or the file."""


def model_path(model: str) -> str:
    """The folder or hub id, with ``~`` for the user's home folder."""
    return str(Path(model).expanduser()) if model.startswith("~") else model


def model_not_found(model: str, gguf_file: str | None, error: Exception) -> FileNotFoundError:
    """The error for a model that is neither in a local folder nor on a hub that can be reached."""
    which = f"{model!r} with gguf_file {gguf_file!r}" if gguf_file else repr(model)
    return FileNotFoundError(
        f"model {which} is neither a local model folder nor a model on the hub that can be reached: "
        f"{_first_line(error)}"
    )


def check_model_folder(model: str, gguf_file: str | None = None) -> None:
    """Says which file of a local model folder is damaged, before any weight is loaded; of a hub id nothing is known.

    Raises:
        BackboneError: if a local path does not exist or is no folder, or a file in it is damaged; names it.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.exists():
            raise BackboneError(f"backbone: {model!r} is a file; it must be a model folder or a hub id")
        if folder.is_absolute() or model.startswith(".") or len(folder.parts) > 2:  # A hub id is owner/name.
            raise BackboneError(f"backbone: {str(folder / (gguf_file or ''))!r} does not exist")
        return
    if gguf_file is not None:
        if not (folder / gguf_file).is_file():
            raise BackboneError(f"backbone: {str(folder / gguf_file)!r} does not exist")
        _check_content(folder / gguf_file, b"GGUF", "GGUF file")
        return
    for file in sorted(folder.glob("*.json")):
        if file.name in _OBJECTS:
            json_object(file)
    for file in sorted(folder.glob("*.safetensors")):
        check_weight_file(file)
    index = folder / _INDEX
    if index.is_file():
        _check_index(index)


def check_weight_file(file: Path) -> set[str]:
    """Reads the header of a safetensors file, which says how long the file has to be.

    Returns:
        The names of its tensors.

    Raises:
        BackboneError: if it is damaged, cut off, or a pointer of Git LFS; names it.
    """
    from safetensors import SafetensorError, safe_open

    _check_content(file, b"", "safetensors file")
    try:
        with safe_open(file, framework="numpy") as opened:
            return set(opened.keys())
    except SafetensorError as error:
        raise BackboneError(
            f"{file} is damaged or incomplete ({file.stat().st_size:,} bytes): {_first_line(error)}. Copy or download "
            "it again"
        ) from error


def _check_content(file: Path, magic: bytes, kind: str) -> None:
    with file.open("rb") as stream:
        beginning = stream.read(len(_LFS_POINTER))
    if beginning == _LFS_POINTER:
        raise BackboneError(f"{file} is a Git LFS pointer, not the {kind} itself: run `git lfs pull` in its repository")
    if not beginning.startswith(magic):
        raise BackboneError(f"{file} is damaged: it does not begin as a {kind} does")


def json_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder.

    Raises:
        BackboneError: if it holds none; names it.
    """
    _check_content(file, b"", "file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BackboneError(f"{file} is damaged: it is not JSON: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{file} is damaged: it holds {str(content)[:40]!r}; it must be a JSON object")
    return content


def _check_index(index: Path) -> None:
    names = json_object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise BackboneError(f"{index} is damaged: its weight_map must give the name of a file for each tensor")
    for name in sorted(set(names.values())):
        file = index.parent / name
        if not file.is_file():
            raise BackboneError(f"{file} does not exist, but {index} names it: copy or download it again")
        if lacking := {tensor for tensor, place in names.items() if place == name} - check_weight_file(file):
            raise BackboneError(f"{file} has no tensor {min(lacking)!r}, but {index} says so")


def load_model(loader: Any, model: str, gguf_file: str | None = None, **settings: Any) -> tuple[Any, list[str]]:
    """Loads a model of transformers, without code of the hub; weights only as safetensors or GGUF, as floats.

    Args:
        loader: class with a ``from_pretrained``.
        model: folder or hub id.
        gguf_file: name of a GGUF file in it; its weights are unpacked.
        settings: further arguments of ``from_pretrained``.

    Returns:
        The model, and the names of the weights that its files lack, which are random.

    Raises:
        FileNotFoundError: if it is neither a local folder nor on a hub that can be reached.
        BackboneError: if it cannot be loaded; names it, and the file or the tensor that is wrong.
    """
    check_model_folder(model, gguf_file)
    if gguf_file is None:
        settings = {**settings, "use_safetensors": True}
    else:
        settings = {**settings, **_gguf_settings(gguf_file)}
    try:
        if gguf_file is None:
            _refuse_attention_of_hub(model)
        network, info = loader.from_pretrained(
            model,
            trust_remote_code=False,
            output_loading_info=True,
            # Told below, with the tensor's name in the message instead of a table in the log.
            ignore_mismatched_sizes=True,
            **settings,
        )
    except (BackboneError, ImportError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(model).is_dir():
            raise model_not_found(model, gguf_file, error) from error
        raise BackboneError(f"{loader.__name__} cannot load {model!r}: {_first_line(error)}") from error
    for name, there, expected in sorted(info["mismatched_keys"]):
        raise BackboneError(
            f"{model!r}: {name} is of shape {tuple(there)} in the weights, but of {tuple(expected)} in config.json: "
            "they do not belong together"
        )
    for name, weight in network.named_parameters():
        if not weight.is_floating_point():
            raise BackboneError(
                f"{model!r}: {name} is of type {weight.dtype}: weights that are quantized can be neither trained nor "
                "compared; give the checkpoint they were made from"
            )
    return network, sorted(info["missing_keys"])


def _refuse_attention_of_hub(model: str) -> None:
    """Refuses a configuration that names a kernel of the hub as its attention: with `kernels` transformers runs it."""
    from transformers import PretrainedConfig

    parts = [PretrainedConfig.get_config_dict(model)[0]]
    for part in parts:
        parts += [value for value in part.values() if isinstance(value, dict)]
        for key in ("attn_implementation", "_attn_implementation"):
            if "/" in str(part.get(key)):
                raise BackboneError(
                    f"{model!r}: config.json sets {key} to {part[key]!r}, which is code of the hub; no such code is "
                    "run: remove the key"
                )


def _gguf_settings(gguf_file: str) -> dict[str, Any]:
    """The arguments under which transformers unpacks a GGUF file; from 5.17 on it may leave weights in their blocks."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    unpacked = {} if config is None else {"quantization_config": config(dequantize=True)}
    return {"gguf_file": gguf_file, **unpacked}


def load_tokenizer(model: str, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a local model folder or of a model on the hub, which may bring no code of its own.

    Raises:
        FileNotFoundError: if there is none; names the model.
        BackboneError: if a file of the folder is damaged; names it.
    """
    from transformers import AutoTokenizer

    model = model_path(model)
    if Path(model).is_dir():
        check_model_folder(model, gguf_file if gguf_file and Path(model, gguf_file).is_file() else None)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model, gguf_file=gguf_file, trust_remote_code=False
        )
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # The library of fast tokenizers raises no narrower one.
        if not Path(model, gguf_file or "").exists():
            raise model_not_found(model, gguf_file, error) from error
        if Path(model, _TOKENIZER).is_file() and not isinstance(error, OSError):
            raise BackboneError(f"{Path(model, _TOKENIZER)} is damaged: {_first_line(error)}") from error
        raise FileNotFoundError(f"no tokenizer could be loaded from {model!r}: {_first_line(error)}") from error
    return tokenizer


def beside_file(model: str) -> Path | None:
    """The weights beside the backbone in a folder or on the hub, if there are any that can be read."""
    from transformers.utils.hub import cached_file

    found = cached_file(
        model_path(model),
        BESIDE_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)


def warn_of_beside(model: str) -> None:
    """Tells that an engine samples from the backbone alone, if there are weights beside it; of a local folder only."""
    file = Path(model, BESIDE_FILE)
    if file.is_file():
        log.warning("%s is not read: the policy is the backbone alone", file)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def weight_files(model: str) -> list[Path]:
    """The files of a policy's weights; those of a hub id must have been downloaded."""
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model, allow_patterns=list(_WEIGHTS), local_files_only=True))
    return sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
