"""Reads a policy's folder for an engine: the tokenizer and the files of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WEIGHTS = ("*.safetensors", "*.bin")


def model_not_found(model: str, gguf_file: str | None, error: Exception) -> FileNotFoundError:
    """The error for a model that is neither in a local folder nor on a hub that can be reached."""
    which = f"{model!r} with gguf_file {gguf_file!r}" if gguf_file else repr(model)
    return FileNotFoundError(
        f"model {which} is neither a local model folder nor a model on the hub that can be reached: {error}"
    )


def load_tokenizer(model: str, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a local model folder or of a model on the hub, which may bring no code of its own.

    Raises:
        FileNotFoundError: if there is none; names the model.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model, gguf_file=gguf_file, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        if Path(model, gguf_file or "").exists():
            raise FileNotFoundError(f"no tokenizer could be loaded from {model!r}: {error}") from error
        raise model_not_found(model, gguf_file, error) from error
    return tokenizer


def weight_files(model: str) -> list[Path]:
    """The files of a policy's weights; those of a hub id must have been downloaded."""
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model, allow_patterns=list(_WEIGHTS), local_files_only=True))
    return sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
