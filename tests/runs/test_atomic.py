import errno
import io
import json
import os
import re
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from erprm.runs.atomic import whole_file, whole_files, write_json, write_json_lines, write_text


def test_the_file_appears_with_its_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as file:
        file.write(b"text")
        assert not path.exists()
    assert path.read_bytes() == b"text"
    assert list(path.parent.iterdir()) == [path]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        write_text("text", pipe)
    assert read.result() == b"text"
    assert pipe.is_fifo()


def test_a_link_leads_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere/file")
    for text in ("first", "second"):
        write_text(text, tmp_path / "link")
        assert (tmp_path / "elsewhere/file").read_text(encoding="utf-8") == text
        assert (tmp_path / "link").is_symlink()


def test_an_error_leaves_the_earlier_file_as_it_was_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as first:
        with whole_file(path) as second:
            first.write(b"first")
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


def test_a_full_disk_is_told_with_the_file_and_leaves_the_earlier_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"a": 1}, path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")), whole_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does: without a file
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_json({"a": "long" * 10000}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_where_torch_raises_another_error_over_it(tmp_path: Path) -> None:
    class FullDisk(io.BytesIO):
        def write(self, content: Any) -> int:
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    with pytest.raises(OSError, match="No space left") as caught, whole_file(tmp_path / "a.ckpt"):
        torch.save(torch.zeros(10_000), FullDisk())
    assert caught.value.filename == str(tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_half_a_surrogate_pair_is_written_as_an_escape_and_read_back(tmp_path: Path) -> None:
    rows = [{"text": "é\ud83d"}, {"text": "é"}]
    write_json_lines(rows, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == ['{"text": "\\u00e9\\ud83d"}', '{"text": "é"}']
    assert list(map(json.loads, lines)) == rows


def test_files_of_a_model_take_the_place_of_an_earlier_one_together(tmp_path: Path) -> None:
    earlier = ("config.json", "model-00001-of-00002.safetensors", "notes.txt", "README/a")
    for name in earlier:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier")

    def write(fails: bool) -> None:
        with whole_files(tmp_path, "config.json", ["model*.safetensors"]) as files:
            for name in ("config.json", "model.safetensors", "README/b"):
                (files / name).parent.mkdir(exist_ok=True)
                (files / name).write_text("new")
            if fails:
                raise KeyboardInterrupt

    def content() -> dict[str, str]:
        return {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}

    with pytest.raises(KeyboardInterrupt):
        write(fails=True)
    assert content() == dict.fromkeys(earlier, "earlier")
    write(fails=False)
    assert content() == {"config.json": "new", "model.safetensors": "new", "README/b": "new", "notes.txt": "earlier"}


@pytest.mark.parametrize("renames_done", [0, 1, 2])
def test_a_model_killed_at_any_rename_is_one_or_the_other_or_cannot_be_read(tmp_path: Path, renames_done: int) -> None:
    names = ("config.json", "model.safetensors")
    for name in names:
        (tmp_path / name).write_text("earlier")
    child = os.fork()
    if child == 0:
        replace, done = Path.replace, 0

        def replace_or_die(self: Path, target: Path) -> Path:
            nonlocal done
            if done == renames_done:
                os._exit(9)
            done += 1
            return replace(self, target)

        Path.replace = replace_or_die  # type: ignore[assignment,method-assign]
        with whole_files(tmp_path, "config.json") as files:
            for name in names:
                (files / name).write_text("new")
        os._exit(0)
    os.waitpid(child, 0)
    found = {name: (tmp_path / name).read_text() for name in names if (tmp_path / name).exists()}
    assert "config.json" not in found or set(found.values()) == {"new"}
    # The next writing removes what the killed one left.
    with whole_files(tmp_path, "config.json") as files:
        (files / "config.json").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == list(names)
