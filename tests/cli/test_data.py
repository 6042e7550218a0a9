import json
import math
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import write_records
from tests.data.formats.rows import write_json
from tests.tiny import make_record, make_tokenizer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, first in (("train", 0), ("test", 3)):
        (tmp_path / name).mkdir()
        write_records([make_record(i, [[1.0, 0.0], [1.0]]) for i in range(first, 4)], tmp_path / name / "r.parquet")
    write_json(tmp_path / "gsm8k.jsonl", {"question": make_record(1).question, "answer": "#### 5"})
    write_json(tmp_path / "math.jsonl", {"problem": "What is $x$?", "answer": "5"})
    return tmp_path


BENCHMARKS = ["--gsm8k_test", "gsm8k.jsonl", "--math_500", "math.jsonl"]


def test_statistics_are_printed_drawn_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tokenizer().save_pretrained(folder / "tokenizer")
    files = ["--json", "s.json", "--plot", "s.png", "--tokenizer", "tokenizer", "--etas", "[0,.inf]"]
    assert main(["data", "stats", "train/r.parquet", "test/r.parquet", *BENCHMARKS, *files]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    # The files have one name, so the folder is told, too.
    assert "train/r.parquet" in printed
    assert "tokens of a solution" in printed
    assert (folder / "s.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    assert written["shared_problems"] == [{"data": ["train/r.parquet", "test/r.parquet"], "problems": 1}]
    train, test = written["data"]
    assert (train["path"], train["solutions"], test["solutions"]) == ("train/r.parquet", 4, 1)
    assert train["benchmarks"]["GSM8K test"]["problems"] == 1
    assert train["benchmarks"]["MATH-500"]["problems"] == 0
    assert [(labels["eta"], labels["mean"]) for labels in train["labels"]] == [(0.0, 0.75), ("inf", 1.0)]
    tokens = make_tokenizer()("\n".join([make_record(3).question, *make_record(3, [[1.0], [1.0]]).steps]))["input_ids"]
    assert math.isclose(test["lengths"]["tokens"]["mean"], len(tokens), abs_tol=1)


def test_benchmarks_out_of_reach_are_said_to_be_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", "train", "--math_500", "null"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "not looked for: problems: 'openai/gsm8k' is not a local path" in printed
    assert "Benchmark problems" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "data: 'nowhere.jsonl' does not exist"),
        (["gsm8k.jsonl"], "gsm8k.jsonl, line 1: has the fields question, answer, which no known layout has"),
        (["train", "--gsm8k_test", "nowhere.jsonl"], "problems: 'nowhere.jsonl' does not exist"),
        (
            ["bad.jsonl", "--on_error", "skip"],
            "bad.jsonl: holds no labelled solution; bad.jsonl, line 1: field",
        ),
    ],
)
def test_an_error_is_one_line(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(folder / "bad.jsonl", {"prompt": "What?", "completions": ["a"], "labels": []})
    assert main(["data", "stats", *arguments[:1], *BENCHMARKS, *arguments[1:]]) == 1
    assert capsys.readouterr().err.startswith(f"erprm data stats: {message}")


@pytest.mark.parametrize("key", ["--json", "--plot"])
def test_no_output_replaces_what_is_read(folder: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = (folder / "train/r.parquet").rename(folder / "train/r.png" if key == "--plot" else folder / "r.json")
    before = source.read_bytes()
    assert main(["data", "stats", str(source), *BENCHMARKS, key, str(source)]) == 1
    assert capsys.readouterr().err.endswith(f"{source.name}: is the input; give the output another name\n")
    assert source.read_bytes() == before


def test_the_name_of_a_figure_is_checked_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["data", "stats", "nowhere.jsonl", "--plot", "s.xyz"])
    assert "plot is 's.xyz'; its name must end in .png, .svg, .pdf" in capsys.readouterr().err


def test_rows_left_out_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "What?", "completions": ["a"], "labels": [1]}
    write_json(folder / "a.jsonl", row, {**row, "labels": []}, {**row, "labels": ["+"]})
    assert main(["data", "stats", "a.jsonl", "--on_error", "skip", *BENCHMARKS]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 row(s) of a.jsonl left out, the first: a.jsonl, line 2: field 'labels' has 0 label(s)" in printed


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["stat"], 2), (["--help"], 0)])
def test_the_command_names_what_it_can_do(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *arguments]) == status
    assert "usage: erprm data stats PATH..." in capsys.readouterr().err
