import io

from rich.console import Console

from erprm.metrics.estimate import Curve
from erprm.report.tables import Table, curves_table

CURVES = {
    "PRM": Curve([1, 2, 4], [0.5, 0.626, 0.75], [0.4, 0.5, 0.7], [0.6, 0.7, 0.8]),
    "majority vote": Curve([1, 2, 4], [0.5, 0.5, 0.55], [0.4, 0.4, 0.45], [0.6, 0.6, 0.65]),
}


def printed(table: Table, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.rich())
    return console.export_text()


def test_curves_in_markdown_are_percentages_with_intervals() -> None:
    assert curves_table("title", CURVES).markdown() == (
        "| accuracy, % [95% interval] | n = 1 | n = 2 | n = 4 |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| PRM | 50.0 [40.0, 60.0] | 62.6 [50.0, 70.0] | 75.0 [70.0, 80.0] |\n"
        "| majority vote | 50.0 [40.0, 60.0] | 50.0 [40.0, 60.0] | 55.0 [45.0, 65.0] |\n"
    )


def test_the_terminal_table_has_the_chosen_columns() -> None:
    text = printed(curves_table("title", CURVES, [1, 4]))
    assert "n = 4" in text
    assert "n = 2" not in text
    assert "75.0 [70.0, 80.0]" in text


def test_a_name_in_brackets_is_no_markup() -> None:
    text = printed(Table("t", ["[bold]run", "n"], [["[red]a", "1"]], footnote="one line"))
    assert "[bold]run" in text
    assert "[red]a" in text
    assert "one line" in text


def test_a_line_stands_where_the_first_cell_changes() -> None:
    rows = [["a", "1"], ["a", "2"], ["b", "3"]]
    assert printed(Table("t", ["x", "n"], rows, sections=True)).count("├") == 1
    assert printed(Table("t", ["x", "n"], rows)).count("├") == 0


def test_a_narrow_terminal_folds_names_and_keeps_whole_numbers() -> None:
    table = Table("t", ["method", "accuracy"], [["a method with a long name", "50.0 [40.0, 60.0]"]], whole_numbers=True)
    text = printed(table, width=34)
    assert "50.0 [40.0, 60.0]" in text
    assert "with a" in text


def test_rows_without_a_header_are_names_and_values() -> None:
    lines = printed(Table("t", (), [("solutions", "4"), ("steps", "12")])).splitlines()
    assert [line.strip("│ ").split() for line in lines if "│" in line] == [
        ["solutions", "│", "4"],
        ["steps", "│", "12"],
    ]
