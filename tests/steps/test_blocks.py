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
