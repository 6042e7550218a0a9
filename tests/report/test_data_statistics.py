import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from erprm.data.statistics import DataStatistics, problem_fingerprint, shared_problems
from erprm.report.data_statistics import draw_statistics, statistics_tables
from tests.tiny import make_record


def data(count: int) -> list[DataStatistics]:
    problems = {"GSM8K test": {problem_fingerprint(make_record(1).question)}}
    found = []
    for number in range(count):
        statistics = DataStatistics(f"data/{number}.parquet", [0.0, math.inf], problems)
        statistics.add([make_record(i, [[1.0, 0.0, 0.0, 0.0], [1.0]]) for i in range(number, 4)])
        found.append(statistics)
    return found


def printed(found: list[DataStatistics]) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    for table in statistics_tables(found, shared_problems(found)):
        console.print(table.rich())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def cells(lines: list[str], first: str) -> list[str]:
    line = next(line for line in lines if line.strip("│ ").startswith(first))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_tables_hold_what_was_counted() -> None:
    lines = printed(data(2))
    assert cells(lines, "solutions") == ["solutions", "4", "3"]
    assert cells(lines, "duplicates") == ["duplicates", "0 (0.0%)", "0 (0.0%)"]
    assert cells(lines, "steps of a") == ["steps of a solution", "2.0 · 2 · 2 · 2", "2.0 · 2 · 2 · 2"]
    assert cells(lines, "completions of") == ["completions of a step", "4.0 · 4 · 4 · 4", "4.0 · 4 · 4 · 4"]
    # All steps with completions have one right of four: they differ by nothing but chance, and do not even that.
    assert cells(lines, "steps whose") == ["steps whose completions differ", "100.0%", "100.0%"]
    assert cells(lines, "signal in") == ["signal in soft labels", "-", "-"]
    # The fitted distribution keeps a width, so there is a hair to know.
    assert [float(cell.rstrip("%")) for cell in cells(lines, "AUROC at most")[1:]] == pytest.approx([50.0] * 2, abs=0.2)
    # One step in two has the soft label 1/4, the other 1: mean 5/8, then the shares of 0, of four quarters, and of 1.
    assert cells(lines, "0 (soft)") == ["0 (soft)", "0.625", "0.0", "0.0", "50.0", "0.0", "0.0", "50.0"]
    assert cells(lines, "inf (hard)") == ["inf (hard)", "1.000", "0.0", "0.0", "0.0", "0.0", "0.0", "100.0"]
    assert any("data/0.parquet │ data/1.parquet │        3 │        75.0% │        100.0%" in line for line in lines)
    assert "│ data/1.parquet │ 1 · 1 (33.3%) │" in [" ".join(line.split()) for line in lines]


def test_one_data_set_alone_has_no_table_of_shared_problems() -> None:
    assert not any("in both" in line for line in printed(data(1)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_figure_is_drawn(tmp_path: Path, count: int) -> None:
    found = data(count)
    draw_statistics(found, shared_problems(found), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_every_data_set_is_named_in_the_figure_and_each_has_its_labels(tmp_path: Path) -> None:
    import matplotlib as mpl

    found = data(3)
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw_statistics(found, shared_problems(found), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for statistics in found:
        assert f"Labels of {statistics.name}" in text
        assert f"in {statistics.name}" in text
    assert "eta inf (hard)" in text
    assert "in GSM8K test" in text
