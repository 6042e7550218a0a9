from pathlib import Path

import pytest

from erprm.engines.model_files import load_tokenizer


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model '.*nowhere' is neither a local model folder nor"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"with gguf_file 'nothing\.gguf' is neither a local model folder nor"):
        load_tokenizer(str(tmp_path), "nothing.gguf")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=rf"no tokenizer could be loaded from '{tmp_path}'"):
        load_tokenizer(str(tmp_path))
