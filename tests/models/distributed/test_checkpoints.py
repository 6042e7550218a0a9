import os
import uuid
from pathlib import Path

import pytest

from erprm.models.distributed.checkpoints import exchange_folder, restore_folders


def make_folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "part").write_text(content, encoding="utf-8")
    return path


def hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{suffix}")


@pytest.mark.parametrize("renames_done", [0, 1, 2])
def test_a_process_killed_at_any_rename_leaves_the_earlier_or_the_new_folder_whole(
    tmp_path: Path, renames_done: int
) -> None:
    path = make_folder(tmp_path / "last.ckpt", "earlier")
    new = make_folder(hidden(path, "tmp"), "new")
    child = os.fork()
    if child == 0:
        rename, done = Path.rename, 0

        def rename_or_die(self: Path, target: Path) -> Path:
            nonlocal done
            if done == renames_done:
                os._exit(9)
            done += 1
            return rename(self, target)

        Path.rename = rename_or_die  # type: ignore[assignment]
        exchange_folder(new, path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (0 if renames_done == 2 else 9)
    restore_folders(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
    assert (path / "part").read_text(encoding="utf-8") == ("new" if renames_done == 2 else "earlier")


def test_a_file_of_the_same_name_makes_way_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("one file", encoding="utf-8")
    exchange_folder(make_folder(hidden(tmp_path / "last.ckpt", "tmp"), "new"), tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt/part").read_text(encoding="utf-8") == "new"
    assert len(list(tmp_path.iterdir())) == 1
