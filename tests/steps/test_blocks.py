import pytest

from erprm.steps.blocks import find_blocks


def blocks(text: str) -> list[str]:
    return [text[block.start : block.stop] for block in find_blocks(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so $x + 1$ and \(y\), thus", ["$x + 1$", r"\(y\)"]),
        ("a $$x\n\ny$$ b", ["$$x\n\ny$$"]),
        ("a \\[x\n\n= 1.\\] b", ["\\[x\n\n= 1.\\]"]),
        (r"\begin{align*} a \\[2pt] b \end{align*}", [r"\begin{align*} a \\[2pt] b \end{align*}"]),
        (r"\begin{a}\begin{a}x\end{a}\end{a} y", [r"\begin{a}\begin{a}x\end{a}\end{a}"]),
        (r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix}$ z", [r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix}$"]),
        ("x\n```python\na = 1\n\nb\n```\ny", ["```python\na = 1\n\nb\n```"]),
        ("~~~\n```\n~~~", ["~~~\n```\n~~~"]),
        ("````\n```\n````\nx", ["````\n```\n````"]),
        ("run `a. b` now", ["`a. b`"]),
        ("[asy]\ndraw(a);\n\n[/asy] so", ["[asy]\ndraw(a);\n\n[/asy]"]),
        ("x\n```\nnever\n\nclosed", ["```\nnever\n\nclosed"]),
    ],
)
def test_code_and_formulas_are_blocks(text: str, expected: list[str]) -> None:
    assert blocks(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "She has $5 and gives $2 away.",
        "Lessons at $40/hour for 3 hours and at $28/hour.",
        "It costs $5-$10, or ($3)/($4).",
        r"It costs \$5 and \$6\$.",
        "an open $x and\n\nanother$ paragraph",
        r"an open \[ and \( and \begin{a} and $$ and `tick",
        r"\\[2pt] x \]",
        r"\end{a} \begin{b}",
        "no blocks at all",
    ],
)
def test_prices_escaped_signs_and_unclosed_delimiters_are_none(text: str) -> None:
    assert blocks(text) == []


def test_what_stands_within_a_block_opens_none_of_its_own() -> None:
    assert blocks("```\n$x$ \\[\n```\n$y$") == ["```\n$x$ \\[\n```", "$y$"]


def test_display_blocks_are_told_from_those_within_a_line() -> None:
    text = "$a$ \\(b\\) `c` $$d$$ \\[e\\] \\begin{f}\\end{f} [asy][/asy]\n```\n```"
    assert [block.display for block in find_blocks(text)] == [False] * 3 + [True] * 5


@pytest.mark.parametrize(
    "table",
    [
        "| n | f(n) |\n|---|---|\n| 1 | 2 |",
        "n | f(n)\n:--|--:\n1 | $|x|$",
        "| 1 | 2 |\n| 3 | 4 |",
        "+---+---+\n| 1 | 2 |\n+---+---+",
        "┌───┬───┐\n│ 1 │ 2 │\n└───┴───┘",
        "<table>\n<tr><td>1</td></tr>\n\n</table>",
    ],
)
def test_a_table_is_a_block_and_the_lines_around_it_are_not(table: str) -> None:
    assert blocks(f"Words.\n{table}\nSo |x| = 3.") == [table]
    assert blocks(f"{table}\n\nSo.") == [table]


@pytest.mark.parametrize("text", ["|x| = |y|\n|y| = |z|", "P(A | B) = 1\nP(B | A) = 2", "| 1 | 2 |", "a | b\n\n-|-"])
def test_bars_alone_make_no_table(text: str) -> None:
    assert blocks(text) == []


def test_a_table_in_code_belongs_to_the_code_and_a_formula_in_a_table_to_the_table() -> None:
    code = "```\n| a | b |\n|---|---|\n```"
    assert blocks(code) == [code]
    assert blocks("| $a$ | b |\n|---|---|") == ["| $a$ | b |\n|---|---|"]


def test_a_code_fence_may_stand_behind_words_or_in_an_item_if_it_is_closed() -> None:
    assert blocks("Run: ```python\nx\n\ny\n```\nso") == ["```python\nx\n\ny\n```"]
    assert blocks("1. ```\n   x\n   ```\nso") == ["```\n   x\n   ```"]
    assert blocks("the sign ```\nis a fence\n\nin Markdown") == []
