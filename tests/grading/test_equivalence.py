"""What counts as equal, by subject. The table of `docs/grading.md` in executable form."""

from collections.abc import Iterator

import pytest

from erprm.grading import Grader

EQUAL = {
    "bases": [
        ("2516_8", "2516_{8}"),
        ("2516", "2516_8"),
        ("2516_{\\text{eight}}", "2516_8"),
        ("2516 (base 8)", "2516_8"),
        ("110_2", "6"),
    ],
    "decimals": [
        ("6.72e-5", ".0000672"),
        ("0.750", "\\frac34"),
        ("5.0", "5"),
        ("\\pi", "3.14"),
        ("3.1416", "\\pi"),
        ("0.\\overline{3}", "1/3"),
    ],
    "intervals": [
        ("(-\\infty, 0 ]", "(-\\infty,0]"),
        ("x < 3", "(-\\infty,3)"),
        ("-2 \\le x \\le 7", "x \\in [-2,7]"),
        ("2 > x > 1", "(1,2)"),
        ("x \\neq 3", "(-\\infty,3)\\cup(3,\\infty)"),
        ("(3,\\infty)\\cup(-\\infty,2)", "(-\\infty, 2) \\cup (3, \\infty)"),
        ("x<1 \\text{ or } x>2", "(-\\infty,1)\\cup(2,\\infty)"),
        ("1\\le|z|\\le 2", "[-2,-1]\\cup[1,2]"),
    ],
    "units": [
        ("864", "864 \\mbox{ inches}^2"),
        ("864\\text{ square inches}", "864 \\mbox{ inches}^2"),
        ("864 in^2", "864 \\mbox{ inches}^2"),
        ("15 m^2", "15\\text{ m}^2"),
        ("150 cm", "1.5\\text{ m}"),
        ("12 m/s", "12 meters per second"),
        ("\\$0.054", "5.4 \\text{ cents}"),
        ("5 apples", "5"),
        ("\\$18.90", "18.90"),
        ("12^{\\mathrm{th}}", "12"),
    ],
    "thousands": [
        ("1,450,000", "1450000"),
        ("10{,}000", "10000"),
        ("11,\\! 111", "11111"),
        ("1 000", "1000"),
        ("1\\,000", "1000"),
        ("(1,000)", "1000"),
        ("1.000.000", "1000000"),
        ("1000,99", "1000.99"),
    ],
    "mixed numbers": [
        ("1 1/2", "1.5"),
        ("1\\frac{4}{5}", "\\frac95"),
        ("-1\\frac12", "-1.5"),
        ("137½", "137 \\frac{1}{2}"),
    ],
    "percent": [("28\\%", "28"), ("28 percent", "28\\%"), ("0.28", "28\\%"), ("10%", "0.1")],
    "angles": [
        ("90", "90^\\circ"),
        ("90 degrees", "90^\\circ"),
        ("\\pi \\text{ radians}", "180^\\circ"),
        ("\\sin 30^\\circ", "\\frac12"),
    ],
    "plus-minus": [
        ("1-\\sqrt{19}, 1+\\sqrt{19}", "1 \\pm \\sqrt{19}"),
        ("x = \\pm 2", "2, -2"),
        ("\\{1+\\sqrt5, -2, 1-\\sqrt5\\}", "\\{1\\pm\\sqrt{5},-2\\}"),
    ],
    "lists and tuples": [
        ("2, 1", "1,2"),
        ("\\{2,1\\}", "\\{1,2\\}"),
        ("1, 2", "(1,2)"),
        ("x=1, y=2", "(1,2)"),
        ("\\langle 1,2\\rangle", "(1,2)"),
        ("(2,1), (1,2)", "(1,2) \\text{ and } (2,1)"),
        ("\\{5\\}", "5"),
    ],
    "words and choices": [
        ("Evelyn", "\\text{Evelyn}"),
        ("East", "\\text{east}"),
        ("(C)", "\\text{(C)}"),
        ("c", "C"),
        ("(C) 25", "\\text{(C)}"),
        ("4:30 pm", "\\text{4:30 p.m.}"),
    ],
    "matrices": [
        ("\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
        ("(1,2)", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("\\begin{pmatrix}1/2\\\\2\\end{pmatrix}", "\\begin{pmatrix}0.5\\\\2\\end{pmatrix}"),
        ("2\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\4\\end{pmatrix}"),
    ],
    "labels and equations": [
        ("x = 5", "5"),
        ("5", "x=5"),
        ("f(x) = x^2+1", "x^2+1"),
        ("2x+1=y", "y=2x+1"),
        ("2x + 4y - 3 = 0", "y = -\\frac12 x + \\frac34"),
        ("-x \\ge -1", "x \\le 1"),
        ("\\frac{1}{3} \\approx 0.33", "1/3"),
    ],
    "spelling": [
        ("−5", "-5"),
        ("５０％", "50%"),
        ("x²", "x^2"),
        ("√2/2", "\\frac{\\sqrt2}{2}"),
        ("π/2", "\\frac{\\pi}{2}"),
        ("x**2+2*x+1", "(x+1)^2"),
        ("\\x0crac12".replace("\\x0c", "\x0c"), "0.5"),
        ("\\\\frac12", "0.5"),
    ],
    "algebra": [
        ("2\\sqrt2", "\\sqrt{8}"),
        ("\\frac{1}{\\sqrt3}", "\\frac{\\sqrt{3}}{3}"),
        ("\\tan^2(y)+1", "\\sec^2(y)"),
        ("\\sqrt{x^2}", "|x|"),
        ("e^{i\\pi}", "-1"),
        ("2(14)", "28"),
        ("(2)(3)", "6"),
        ("5!", "120"),
        ("{5 \\choose 2}", "10"),
        ("\\log_2 8", "3"),
    ],
    "ratios": [("2:4", "1:2"), ("3:4", "\\frac34"), ("11:21", "V_1:V_2=11:21")],
    "odd golds": [
        ("5", "5."),
        ("5", "$5$"),
        ("(1,2)", "\\left(1,2\\right)"),
        ("A, B", "\\text{A, B}"),
        ("\\text{all real numbers}", "\\mathbb{R}"),
    ],
}

DIFFERENT = {
    "bases": [("2516_9", "2516_8"), ("2517_8", "2516_8"), ("110_2", "110"), ("40^\\circ", "40_9")],
    "decimals": [
        (".0000673", ".0000672"),
        ("2.67", "\\frac83"),
        ("0.33", "\\frac13"),
        ("5.001", "5"),
        ("15.98", "\\frac{639}{40}"),
    ],
    "intervals": [
        ("[-\\infty,0]", "(-\\infty,0]"),
        ("(0,9)", "[0,9)"),
        ("(0,9]", "(0,9)"),
        ("x \\le 3", "(-\\infty,3)"),
        ("(1,2)\\cup(3,4]", "(1,2)\\cup(3,4)"),
        ("(2,1)", "(1,2)"),
    ],
    "units": [
        ("864 \\text{ inches}^3", "864 \\mbox{ inches}^2"),
        ("15 cm", "15\\mbox{ cm}^2"),
        ("5.4 dollars", "5.4\\text{ cents}"),
        ("60 km/h", "60 mph"),
        ("5 kg", "5 lb"),
        ("17\\%", "17^\\circ"),
    ],
    "thousands": [("32, 349", "32349"), ("\\{2,100\\}", "2100"), ("(5, 120)", "5120"), ("4 2", "42")],
    "mixed numbers": [("1 1/2", "\\frac{11}{2}"), ("1\\frac12", "0.5")],
    "percent": [("0.28\\%", "0.28"), ("28", "0.28"), ("5\\%", "0.5")],
    "angles": [("180^\\circ", "\\pi"), ("\\frac{\\pi}{2}", "90^\\circ"), ("30 \\text{ radians}", "30^\\circ")],
    "plus-minus": [("1+\\sqrt{19}", "1 \\pm \\sqrt{19}"), ("1\\pm\\sqrt{17}", "1 \\pm \\sqrt{19}")],
    "lists and tuples": [
        ("(2,1)", "(1,2)"),
        ("1,2,3", "1,2"),
        ("x=2, y=1", "x=1, y=2"),
        ("\\{1,2\\}", "(1,2)"),
        ("(1,2,3)", "(1,2)"),
    ],
    "words and choices": [
        ("west", "\\text{east}"),
        ("B", "\\text{(C)}"),
        ("no solutions", "\\text{no solution}"),
        ("4:30 am", "4:30 pm"),
        ("E'", "E"),
    ],
    "matrices": [
        ("\\begin{pmatrix}1&2\\\\3&5\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
        ("\\begin{pmatrix}2&1\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"),
    ],
    "labels and equations": [
        ("y = 5", "x = 5"),
        ("x + y = 10", "10"),
        ("11a+c", "7 = 11a+c"),
        ("x = y", "x = z"),
        ("f(1)<f(2)", "f(2)<f(1)"),
    ],
    "algebra": [
        ("|x|", "x"),
        ("x+1", "x+2n+1"),
        ("-i", "i"),
        ("\\ln 2", "\\log_{10} 2"),
        ("2\\sqrt3", "3\\sqrt2"),
        ("x", "-x"),
    ],
    "ratios": [("2:1", "1:2"), ("12:00", "1:00")],
    "nothing": [("", "5"), ("5", ""), ("", "")],
}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2, timeout_s=60.0) as shared:
        yield shared


@pytest.mark.parametrize("subject", EQUAL)
def test_equal_answers(grader: Grader, subject: str) -> None:
    verdicts = grader.grade_batch(EQUAL[subject], "math")
    assert [pair for pair, equal in zip(EQUAL[subject], verdicts, strict=True) if not equal] == []


@pytest.mark.parametrize("subject", DIFFERENT)
def test_different_answers(grader: Grader, subject: str) -> None:
    verdicts = grader.grade_batch(DIFFERENT[subject], "math")
    assert [pair for pair, equal in zip(DIFFERENT[subject], verdicts, strict=True) if equal] == []
