import gzip
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import MAX_ROW_BYTES, RowError, json_rows, read_json_rows
from erprm.runs.atomic import json_line


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


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
def test_content_and_not_the_name_says_whether_it_is_an_array(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('  \n[{"x": 1}]')
    assert [row for _, row in read(tmp_path / name)] == [{"x": 1}]
    (tmp_path / name).write_text('\n {"x": 1}\n{"x": 2}')
    assert [row for _, row in read(tmp_path / name)] == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize("content", ["", " \n\n", "[]", " [ ]\n"])
def test_a_file_may_hold_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert read(tmp_path / "a.json") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"x": 1}\n{"x": \n', "a.jsonl, line 2: not JSON (Expecting value at character 6 of the line)"),
        (b'{"x": 1}\n[1, 2]\n', "a.jsonl, line 2: is of type list; expected an object"),
        (b'{"x": "\xe9"}\n', "a.jsonl, line 1: not UTF-8 text (byte 8 of the line is 0xe9: "),
        (b'{"x": 1}\n{"x": 1, "y": 2, "x": 3}\n', "a.jsonl, line 2: the key 'x' appears twice"),
        (b'{"x": {"y": 2, "y": 3}}\n', "a.jsonl, line 1: the key 'y' appears twice"),
        (b'{"x": ' + b"1" * 5000 + b"}", "a.jsonl, line 1: not readable JSON (Exceeds the limit"),
        (b'{"x": ' * 200_000, "a.jsonl, line 1: not readable JSON (maximum recursion depth"),
        (b'[{"x": 1}, "x"]', "a.jsonl, element 2: is of type str; expected an object"),
        (b'[{"x": 1}, {"y": 1, "y": 2}]', "a.jsonl, element 2: the key 'y' appears twice"),
        (b'[{"x": 1}, {"x": nul}]', "a.jsonl, element 2: not JSON (Expecting value at character 18 of the file)"),
        (b'[{"x": 1},]', "a.jsonl, element 2: not JSON (Expecting value at character 11 of the file)"),
        (b'[{"x": 1} {"x": 2}]', "a.jsonl, element 1: not JSON ('{' at character 11 of the file, not ',')"),
        (b'[{"x": 1}', "a.jsonl, element 1: not JSON (the file ends at character 10 of the file, not ',')"),
        (b'[{"x": 1}, {"x": "a', "a.jsonl, element 2: not JSON (Unterminated string"),
        (b'[{"x": 1}]\n[]', "a.jsonl, element 1: not JSON ('[' at character 12 of the file, not the end of the file)"),
        (b'[{"x": ' + b"1" * 5000 + b"}]", "a.jsonl, element 1: not readable JSON (Exceeds the limit"),
        (b"[" * 200_000, "a.jsonl, element 1: not readable JSON (maximum recursion depth"),
        (b'[{"x": 1}, {"x": "\xc3\xa9\xe9"}]', "a.jsonl: not UTF-8 text (byte 21 is 0xe9: "),
        (b"\x7fELF\x02\x01\x01\x00\x00", "a.jsonl: is not text (a zero byte at byte 8); expected JSON"),
        ('{"x": 1}'.encode("utf-16"), "a.jsonl: is UTF-16 text; expected UTF-8"),
        ('{"x": 1}'.encode("utf-16-le"), "a.jsonl: is not text (a zero byte at byte 2); expected JSON"),
    ],
)
def test_what_is_not_json_objects_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{message}")):
        read(tmp_path / "a.jsonl")


# Large files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [True, False])
def test_rows_beyond_the_buffers_come_back_whole(tmp_path: Path, array: bool) -> None:
    # Texts of 1, 2 and 4 bytes a character, escapes and quotes lie across the borders of what is read at once.
    rows = [{"n": n, "t": 'é"\\\n😀x' * (n % 300), "v": [0.1, None, True]} for n in range(7000)]
    rows.append({"n": -1, "t": "long" * 1_000_000, "v": []})
    path = tmp_path / "a.json"
    text = json.dumps(rows) if array else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size > 10_000_000
    assert [row for _, row in read(path)] == rows


def peak_memory(read_file: Callable[[], object]) -> int:
    tracemalloc.start()
    read_file()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("array", [True, False])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, array: bool) -> None:
    path = tmp_path / "a.json"
    line = json.dumps({"text": "x" * 1000})
    path.write_text(f"[{', '.join([line] * 20_000)}]" if array else f"{line}\n" * 20_000)
    assert peak_memory(lambda: sum(1 for _ in json_rows(path))) < 8_000_000 < path.stat().st_size


def test_a_line_of_100_mb_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"x": 1}\n{"x": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"x": 3}\n')
    rejected: list[str] = []

    def read_rest() -> None:
        rows = json_rows(path, lambda place, reason, row: rejected.append(f"{place}: {reason}"))
        assert [row["x"] for _, row in rows] == [1, 3]

    assert peak_memory(read_rest) < 2.5 * MAX_ROW_BYTES
    # {"x": "..."} and the line break are 10 bytes more.
    limit = 32 * 1024 * 1024
    assert rejected == [f"{path}, line 2: is 100000010 bytes long; the limit is {limit} (max_row_bytes)"]
    with pytest.raises(RowError, match=r"line 2: is 100000010 bytes long"):
        read(path)


def test_an_element_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"x": 1}, {"x": "y" * 100}, {"x": 3}]))
    rejected: list[str] = []
    rows = json_rows(path, lambda place, reason, row: rejected.append(f"{place}: {reason}"), max_row_bytes=100)
    assert [row["x"] for _, row in rows] == [1, 3]
    assert rejected == [f"{path}, element 2: is 109 characters long; the limit is 100 (max_row_bytes)"]


def test_an_element_without_an_end_is_refused_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"x": 1}, {"x": "' + "y" * 20_000_000)
    message = re.escape(f"{path}, element 2: is longer than 1000000 characters (max_row_bytes)")
    with pytest.raises(ValueError, match=message):
        list(json_rows(path, max_row_bytes=1_000_000))


def test_rows_that_cannot_be_used_are_handed_over_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"x": 1}\n{"x": \n\n"\xe9"\n{"x": 5}\n')
    rejected: list[tuple[str, object]] = []
    rows = json_rows(path, lambda place, reason, row: rejected.append((str(place), row)))
    assert [(place.number, row) for place, row in rows] == [(1, {"x": 1}), (5, {"x": 5})]
    assert rejected == [(f"{path}, line 2", '{"x": '), (f"{path}, line 4", '"�"')]


def test_a_missing_file_is_named_for_what_it_should_hold(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.jsonl"
    with pytest.raises(FileNotFoundError, match=re.escape(f"problems: {str(path)!r} does not exist")):
        read(path)


HALF = '{"question": "cut \\ud83d", "steps": ["a"]}'
WHOLE = '{"question": "whole \\ud83d\\ude00 and \\u00e9", "steps": ["a"]}'


@pytest.mark.parametrize("text", [f"{WHOLE}\n{HALF}\n{WHOLE}\n", f"[{WHOLE}, {HALF}, {WHOLE}]"])
def test_half_of_a_surrogate_pair_costs_its_row_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    rejected: list[tuple[int, str, object]] = []
    rows = list(json_rows(tmp_path / "r.json", lambda place, reason, row: rejected.append((place.number, reason, row))))
    assert [row["question"] for _, row in rows] == [
        "whole \N{GRINNING FACE} and \N{LATIN SMALL LETTER E WITH ACUTE}"
    ] * 2
    ((number, reason, row),) = rejected
    assert number == 2
    assert reason == "field 'question' holds '\\ud83d', half of a surrogate pair: was the text cut within a character?"
    assert row == {"question": "cut \ud83d", "steps": ["a"]}


@pytest.mark.parametrize(
    "row", [{"a\udc00": 1}, {"a": {"b": ["\ud800"]}}, {"a": [{"\udfff": None}]}, {"a": "\udfff\ud800"}]
)
def test_half_of_a_surrogate_pair_is_found_anywhere_in_a_row(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(RowError, match=r"line 1: field 'a.*' holds .*, half of a surrogate pair"):
        list(json_rows(tmp_path / "r.jsonl"))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"a": float("nan"), "b": [1.5, float("inf")]}, b'{"a": null, "b": [1.5, null]}\n'),
        ({"a": {"b": (float("-inf"), "x")}}, b'{"a": {"b": [null, "x"]}}\n'),
        ({"a": "cut \ud83d"}, b'{"a": "cut \\ud83d"}\n'),
        ({"a": "\N{LATIN SMALL LETTER E WITH ACUTE}"}, b'{"a": "\xc3\xa9"}\n'),
    ],
)
def test_a_line_is_json_whatever_the_row_holds(row: dict[str, object], line: bytes) -> None:
    assert json_line(row) == line


@pytest.mark.parametrize("text", [b" " * 2**23, b"\n" * 2**23, b"[{}," + b" " * 2**23 + b"{}]", b"[" + b"\n" * 2**23])
def test_white_space_without_end_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "r.json").write_bytes(gzip.compress(text))
    with pytest.raises(ValueError, match=r"r\.json.*more than 4194304 characters of white space in a row"):
        list(json_rows(tmp_path / "r.json"))
