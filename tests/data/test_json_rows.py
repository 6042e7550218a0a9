import re
from pathlib import Path
from typing import Any

import pytest

from erprm.data.json_rows import read_json_rows


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    return list(read_json_rows(path, "problems"))


def test_lines_are_counted_from_one_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n\n  \n{"x": "é"}', encoding="utf-8")
    assert read(path) == [(f"{path}, line 1", {"x": 1}), (f"{path}, line 4", {"x": "é"})]


def test_a_json_file_is_one_array(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"x": 1},\n {"x": 2}]', encoding="utf-8")
    assert read(path) == [(f"{path}, element 1", {"x": 1}), (f"{path}, element 2", {"x": 2})]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = '[{"x": 1}]' if name == "a.json" else '{"x": 1}\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [row for _, row in read(path)] == [{"x": 1}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"x": 1}\n{"x": \n', r"a\.jsonl, line 2: not JSON \(Expecting value"),
        ("a.jsonl", b'{"x": 1}\n[1, 2]\n', r"a\.jsonl, line 2: a list; expected an object"),
        ("a.json", b'{"x": 1}\n{"x": 2}\n', r"a\.json: not JSON \(Extra data.*has to be named \.jsonl"),
        ("a.json", b'{"x": 1}', r"a\.json: holds a dict; expected an array of objects"),
        ("a.json", b'[{"x": 1}, "x"]', r"a\.json, element 2: a str; expected an object"),
        ("a.jsonl", b'{"x": "\xe9"}\n', r"a\.jsonl: not UTF-8 text"),
    ],
)
def test_what_is_not_json_objects_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_missing_file_is_named_for_what_it_should_hold(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.jsonl"
    with pytest.raises(FileNotFoundError, match=re.escape(f"problems: {str(path)!r} does not exist")):
        read(path)
