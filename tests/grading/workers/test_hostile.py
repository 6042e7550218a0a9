"""Texts made to hang, exhaust or take over the grader: each is answered within its limits and nothing is executed."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sympy.parsing import sympy_parser

import erprm.grading.answers.symbolic  # noqa: F401 - importing it is what disables the evaluation
from erprm.grading import Grader, extract_answer

LIMIT_S = 1.5
MEGABYTE = 1_000_000

LARGE = {
    **{
        f"{name} x 1 MB": character * MEGABYTE
        for name, character in (("blanks", " "), ("lines", "\n"), ("tabs", "\t"), ("NUL", "\0"))
    },
    **{f"{character} x 1 MB": character * MEGABYTE for character in "$\\#9,.-:|^"},
    "50,000 open braces": "{" * 50_000,
    "50,000 closed braces": "}" * 50_000,
    "50,000 open parentheses": "(" * 50_000,
    "50,000 open boxes": "\\boxed{" * 50_000,
    "50,000 open boxes on lines": "\\boxed{\n" * 50_000,
    "20,000 fractions": "\\frac{" * 20_000,
    "20,000 roots": "\\sqrt" * 20_000,
    "100,000 phrases": "answer is " * 100_000,
    "100,000 answer tags": "<answer>" * 100_000,
    "300,000 open formulas": "\\(" * 300_000,
    "300,000 open displays": "\\[" * 300_000,
    "200,000 dollars on lines": "$a\n" * 200_000,
    "100,000 accents": "5" + "\u0301" * 100_000,
    "100,000 emoji": "😀" * 100_000,
    "a phrase and 900,000 blanks": "the answer is 5" + " " * 900_000,
    "200 phrases with 4,000 blanks": ("the answer is 5" + " " * 4_000) * 200,
    "surrogates": "\ud800" * 1000,
    "50,000 superscripts": "x" + "²" * 50_000,
    "30,000 turns": "<|im_end|>" * 30_000,
    "30,000 headings": "# Answer\n" * 30_000,
    "30,000 questions": "Question: 1\n" * 30_000,
    "20,000 blocks of code": "```python\n" * 20_000,
    "50,000 numbers in words": "twenty-" * 50_000,
    "50,000 remarks": "5 (" * 50_000,
    "50,000 powers": "2^" * 50_000,
}
NESTED = {
    "brackets": "[" * 300 + "1" + "]" * 300,
    "tuples": "(1," * 300 + "1" + ")" * 300,
    "roots": "\\sqrt{1+" * 400 + "1" + "}" * 400,
    "fractions": "\\frac{1}{1+" * 300 + "1" + "}" * 300,
    "matrices": "\\begin{pmatrix}" * 250,
    "powers": "x^" * 1900 + "2",
    "signs": "-" * 3900 + "1",
    "sums": "1+" * 1900 + "1",
    "plus-minus": "1\\pm2," * 500,
    "unions": "(1,2)\\cup" * 400 + "(3,4)",
    "equalities": "x=" * 1900 + "1",
    "ratios": "1:" * 1900 + "2",
    "texts": "\\text{" * 600,
    "unit powers": "1 cm" + "^2" * 1900,
    "numbers a letter is not": "x \\neq " + "1," * 1900 + "a",
    "angle brackets": "<" + "1," * 1900 + "=",
    "turned brackets": "]1," * 1300,
    "conditions": ",".join(f"x \\neq {number}" for number in range(250)),
    "stars": "*" * 3900,
    "a long word": "5 " + "a" * 3900,
    "millions": "5 million " * 390,
    "cis of cis": "\\text{cis}(" * 280 + "1",
    "list of 700": ",".join(map(str, range(700))),
}
ENDLESS = {
    "power tower": "9^{9^{9^{9}}}",
    "factorials of factorials": "(((9!)!)!)!",
    "factorial": "(10^{9})!",
    "binomial": "\\binom{10^{9}}{5\\cdot 10^8}",
    "long sum": "\\sum_{k=1}^{10^{12}} \\frac{1}{k}",
    "endless sum": "\\sum_{k=1}^{\\infty} \\sin(k^k)",
    "product": "\\prod_{k=1}^{10^9} k",
    "integral": "\\int_0^1 \\sin(x^{x^{x}}) dx",
    "exponent": "10^{10^{10}}",
    "modulus": "3^{10^{100}} \\mod 7",
    "floor": "\\lfloor 10^{10^7}\\rfloor",
    "matrix power": "\\begin{pmatrix}1&1\\\\1&0\\end{pmatrix}^{1000000000}",
}
UNDEFINED = {name: name for name in ("\\frac{1}{0}", "0^0", "\\infty-\\infty", "nan", "1e999999999", "10^{-10^{10}}")}
INJECTED = {
    text: text
    for text in (
        '__import__("os").system("touch {marker}")',
        '\\boxed{{__import__("os").system("touch {marker}")}}',
        "exec(\"open('{marker}','w')\")",
        "eval(compile('open(\"{marker}\",\"w\")','','exec'))",
        '$\\text{{__import__("os").system("touch {marker}")}}$',
        "().__class__.__bases__[0].__subclasses__()",
        "(lambda: open('{marker}', 'w'))()",
        "$(touch {marker})",
        "`touch {marker}`; touch {marker}",
        "\\input{{/etc/passwd}}",
        "\\write18{{touch {marker}}}",
        "Symbol(\"x\").func(\"open('{marker}','w')\")",
        '"]\n["5", "5',
        "5\n[1, 1]\ntrue",
        "{{% import os %}}{{{{os.system('touch {marker}')}}}}",
    )
}
COUNT = sum(map(len, (LARGE, NESTED, ENDLESS, UNDEFINED, INJECTED)))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(timeout_s=LIMIT_S, workers=2) as shared:
        yield shared


def test_there_are_more_than_sixty() -> None:
    assert COUNT > 60


@pytest.mark.parametrize("name", LARGE)
def test_a_large_text_takes_time_linear_in_its_length(name: str) -> None:
    for kind in ("math", "gsm8k"):
        start = time.process_time()
        extract_answer(LARGE[name], kind)
        assert time.process_time() - start < 5  # quadratic work on a megabyte takes minutes


@pytest.mark.parametrize("texts", [LARGE, NESTED, UNDEFINED], ids=["large", "nested", "undefined"])
def test_hostile_texts_equal_no_gold(grader: Grader, texts: dict[str, str]) -> None:
    golds = ["17", "\\sqrt{17}"]
    pairs = [(text, gold) for text in texts.values() for gold in golds]
    verdicts = grader.grade_batch(pairs, "math")
    assert [pair for pair, equal in zip(pairs, verdicts, strict=True) if equal] == []


def test_hostile_golds_are_no_danger_either(grader: Grader) -> None:
    golds = [*NESTED.values(), *UNDEFINED.values()]
    assert grader.grade_batch([("17\\sqrt{3}", gold) for gold in golds], "math") == [False] * len(golds)


def test_endless_computations_end_at_the_limit() -> None:
    pairs = [(text, "\\sqrt{17}") for text in ENDLESS.values()]
    before_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with Grader(timeout_s=LIMIT_S, workers=2) as grader:
        assert grader.grade_batch(pairs, "math") == [False] * len(pairs)
        assert ENDLESS["endless sum"] in {entry.prediction for entry in grader.killed}
        largest_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        # The largest child of all so far: one of an earlier test may have been larger.
        assert largest_mb == before_mb or largest_mb < grader.memory_mb


@pytest.mark.parametrize("template", INJECTED)
def test_nothing_in_an_answer_is_executed(grader: Grader, template: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    text = template.format(marker=marker)
    golds = ["5", "\\sqrt{17}", "x+1"]
    for pairs in ([(text, gold) for gold in golds], [(f"\\boxed{{{gold}}}", text) for gold in golds]):
        verdicts = grader.grade_batch(pairs, "math")
        assert [
            pair for pair, equal in zip(pairs, verdicts, strict=True) if equal and pair[0] != "5\n[1, 1]\ntrue"
        ] == []
    assert not marker.exists()


@pytest.mark.parametrize(
    "code", ["Symbol ('x').func", "__import__('os')", "Function ('f')(1 )", "Integer (1 )+open('x')"]
)
def test_the_parser_of_sympy_cannot_evaluate_python(code: str) -> None:
    with pytest.raises(PermissionError, match="never evaluates text as Python"):
        sympy_parser.eval_expr(code, {}, {})
