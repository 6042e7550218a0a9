"""Members of each kind of text and of equality, made up at random; what must never be accepted, and what must be."""

import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import isqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.grading import Grader, extract_answer

FORMULAS = [
    r"\frac{5}{3}",
    "x^2+4x+1",
    "(7,-4)",
    "(-2, 3]",
    r"\sqrt{2}+1",
    "3x - 5",
    r"\frac{\sqrt{3}}{2}",
    "2^{10}",
    "17",
    r"-\frac{1}{2}",
    r"\begin{pmatrix} 6 \\ 2 \end{pmatrix}",
]
formulas = st.sampled_from(FORMULAS)
wholes = st.integers(min_value=2, max_value=999)
UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, timeout_s=60.0) as shared:
        yield shared


def equal(grader: Grader, prediction: str, gold: str, kind: str = "math") -> bool:
    return grader.grade_batch([(prediction, gold)], kind)[0]  # type: ignore[arg-type]


@given(formulas, st.sampled_from(["Hence the value is {}.", "We use $n = 7$, so it must be {}", "So, as wanted, {}."]))
def test_a_bare_formula_at_the_end_of_a_text_is_taken_whole(formula: str, sentence: str) -> None:
    answer = extract_answer(f"We begin with the first part of it.\n{sentence.format(formula)}", "math")
    assert answer == formula


@given(
    formulas,
    st.sampled_from(
        [
            "# Answer\n\n{}",
            "### Final Answer\n{}",
            "**Final Answer**\n\n{}",
            "**Final Answer:**\n\n${}$",
            "Final Answer:\n\n\\[\n{}\n\\]",
            "## Answer\n\n$$\n{}\n$$",
            "The final answer is ${}$ (see part 2).",
            "The answer is ${}$. This answer is correct.",
            "#### {}",
            "Therefore, ${}$ is our answer.",
            "\\boxed{{{}}}\n\nQuestion: What is 2+5?\nAnswer: 7",
            "so $\\boxed{{{}}}$.<|im_end|>\n<|im_start|>user\nThanks, and \\boxed{{3}}?",
        ]
    ),
)
def test_a_stated_answer_is_found_after_other_numbers(grader: Grader, formula: str, ending: str) -> None:
    text = "We set $n = 7$ and find 12 of them.\n" + ending.format(formula)
    assert equal(grader, text, formula)
    assert not equal(grader, text, "7")


@given(formulas, st.data())
def test_a_formula_cut_at_any_place_gives_no_part_of_itself(formula: str, data: st.DataObject) -> None:
    for opening in ("$x = ", "\\[ x = ", "\\( x = "):
        cut = data.draw(st.integers(0, len(formula)))
        assert extract_answer(f"We find $k = 9$, so that {opening}{formula[:cut]}", "math") is None


@given(wholes, st.sampled_from(["The answer is {}.", "So 3 + 4 = {}", "x = {} and"]))
def test_a_truncated_text_has_an_answer_only_in_a_closed_form(number: int, text: str) -> None:
    assert extract_answer(text.format(number), "math", truncated=True) is None
    assert extract_answer(f"\\boxed{{{number}}} and so", "math", truncated=True) == str(number)
    assert extract_answer(f"The answer is {number}.\nWe", "math", truncated=True) == str(number)
    assert extract_answer(f"\\boxed{{{number}", "math", truncated=True) is None


@given(st.integers(26, 400), st.integers(1, 9), st.sampled_from([2, 3, 7, 10]))
def test_exact_values_close_to_each_other_differ(grader: Grader, power: int, gap: int, base: int) -> None:
    assert not equal(grader, f"{base}^{{{power}}}", f"{base}^{{{power}}}-{gap}")
    assert not equal(grader, "1", f"1-\\frac{{{gap}}}{{{base}^{{{power}}}}}")
    assert not equal(grader, f"{base}^{{{power}}}x", f"({base}^{{{power}}}+{gap})x")
    assert not equal(grader, "\\sqrt{2}", f"\\sqrt{{2}}+{gap}\\cdot {base}^{{-{power}}}")
    assert equal(grader, f"{base}^{{{power}}}", str(base**power))
    mantissa = f"{Decimal(base**power):.4e}".partition("e")
    assert not equal(grader, f"{mantissa[0]}\\times 10^{{{int(mantissa[2])}}}", f"{base}^{{{power}}}") or (
        Fraction(mantissa[0]) * 10 ** int(mantissa[2]) == base**power
    )


@settings(max_examples=30)
@given(st.integers(1, 10**6), st.integers(2, 10**6), st.integers(20, 60))
def test_a_fraction_differs_from_its_neighbours(grader: Grader, above: int, below: int, zeros: int) -> None:
    fraction = f"\\frac{{{above}}}{{{below}}}"
    assert not equal(grader, f"\\frac{{{above + 1}}}{{{below}}}", fraction)
    assert not equal(grader, f"\\frac{{{above}}}{{{below + 1}}}", fraction)
    assert not equal(grader, f"\\frac{{{above * 10**zeros + 1}}}{{{below * 10**zeros}}}", fraction)
    assert equal(grader, f"\\frac{{{above * 7}}}{{{below * 7}}}", fraction)


@given(st.sampled_from("abdknprst"), st.integers(2, 9))
def test_letters_keep_their_case_where_both_occur(grader: Grader, letter: str, factor: int) -> None:
    large = letter.upper()
    assert not equal(grader, f"{large}-{letter}", f"{letter}-{large}")
    assert not equal(grader, f"{factor}{letter}+{large}", f"{letter}+{factor}{large}")
    assert equal(grader, f"{factor}{large}+1", f"{factor}{letter}+1")


@given(st.integers(1, 60), st.integers(2, 60), st.sampled_from(["\\ldots", "...", "\\dots", "…", "\\cdots"]))
def test_a_repeating_decimal_with_dots_is_its_fraction(grader: Grader, above: int, below: int, dots: str) -> None:
    fixed, period, rest, seen = "", "", above % below, []
    while rest and rest not in seen:
        seen.append(rest)
        fixed += str(rest * 10 // below)
        rest = rest * 10 % below
    if not rest or len(fixed) > 20:
        return
    period = fixed[seen.index(rest) :]
    decimal = f"{above // below}.{fixed}{period}{period}{dots}"
    assert equal(grader, decimal, f"\\frac{{{above}}}{{{below}}}")
    assert not equal(grader, decimal, f"\\frac{{{above + 1}}}{{{below}}}")


@given(wholes, st.integers(1, 8), st.integers(2, 9))
def test_gsm8k_takes_a_number_whole_or_not_at_all(whole: int, above: int, below: int) -> None:
    if above >= below:
        above, below = below - 1, below
    mixed = str(whole + Fraction(above, below))
    for written in (
        f"{whole} {above}/{below}",
        f"{whole}\\frac{{{above}}}{{{below}}}",
        f"{whole} \\frac{above}{below}",
    ):
        assert extract_answer(f"The answer is {written} cups.", "gsm8k") == mixed
        assert extract_answer(f"\\boxed{{{written}}}", "gsm8k") == mixed
    assert extract_answer(f"\\boxed{{{whole}^{above}}}", "gsm8k") == str(whole**above)
    assert extract_answer(f"He needs {whole} million dollars.", "gsm8k") == str(whole * 10**6)
    assert extract_answer(f"#### {whole}e{above}", "gsm8k") == str(whole * 10**above)
    if isqrt(below) ** 2 != below:
        assert extract_answer(f"\\boxed{{{whole}\\sqrt{{{below}}}}}", "gsm8k") is None
    assert extract_answer(f"\\boxed{{\\sqrt{{{whole**2}}}}}", "gsm8k") == str(whole)
    assert extract_answer(f"\\boxed{{\\sqrt{{{whole**2 + 1}}}}}", "gsm8k") is None


# Texts that hold a number which is a part of something larger; none of them has an answer.
PARTS = (
    *("{0}h{1}", "{0} feet {1} inches", "{0} hours and {1} minutes", "{0}ft {1}in", "{0}'{1}\"", "{0} lbs, {1} oz"),
    *("{0}x + {1}", "x + {0}", "{0} - x", "{0}x", "{0}ab", "{0} y", "{0}\\pi", "{0}π", "{0}(x+{1})", "{0}/x", "x^{0}"),
    *("{0} r {1}", "{0} R{1}", "{0} remainder {1}", "{0} mod {1}", "{0}_8", "{0} (base 8)", "{0} base 9"),
    *("{0}:{1}", "{0} : {1}", "{0} to {1}", "{0}, {1}", "{0} and {1}", "{0} cats and {1} dogs", "x = {0}, y = {1}"),
    *("x > {0}", "≥ {0}", "{0} < x", "{0} ± {1}", "f({0})", "\\log {0}", "{0}.{1}.{0}", "{0}/{1}/2024"),
    *("{0} squared", "square root of {0}", "{0} = {0} * {1}", "{0} choose {1}", "{0}%{1}"),
)


@pytest.mark.parametrize("part", PARTS)
def test_gsm8k_reads_no_number_out_of_something_larger(part: str) -> None:
    written = part.format(7, 11)
    for text in ("{}", "The answer is {}.", "\\boxed{{{}}}", "#### {}"):
        assert extract_answer(text.format(written), "gsm8k") is None, text


FORMS = [
    *(("5k", "5000"), ("5K", "5000"), ("5M", "5000000"), ("$5M", "5000000"), ("5B", "5000000000")),
    *(("2.5 million", "2500000"), ("3 lakh", "300000"), ("5万", "50000"), ("2亿", "200000000"), ("3千", "3000")),
    *(("1 200", "1200"), ("1'200", "1200"), ("12\\,500", "12500"), ("1.250.000", "1250000"), ("1,25,000", "125000")),
    *(("1.250,50", "1250.50"), ("12,50", "12.50"), ("-4", "-4"), ("minus 4", "-4"), ("negative 4", "-4")),
    *(("5!", "120"), ("\\sqrt{49}", "7"), ("√49", "7"), ("12 = 3*4", "12"), ("3*4 = 12", "12"), ("3(4)", "12")),
    *(("2^{10} - 1", "1023"), ("|-6|", "6"), ("\\binom{6}{2}", "15"), ("2**5", "32"), ("5 and a half", "11/2")),
    *(("5 km/h", "5"), ("$5/week", "5"), ("5 m^2", "5"), ("3 dozen", "3"), ("5th", "5"), ("50%", "50"), ("5°", "5")),
]


@pytest.mark.parametrize(("written", "value"), FORMS)
def test_gsm8k_reads_every_form_of_a_number(written: str, value: str) -> None:
    for text in ("{}", "The answer is {}.", "\\boxed{{{}}}"):
        assert Fraction(extract_answer(text.format(written), "gsm8k") or -1) == Fraction(value), text


@given(st.integers(1, 99))
def test_numbers_in_words_count(grader: Grader, number: int) -> None:
    if 13 <= number < 20:
        return
    ten, unit = number // 10 * 10, number % 10
    words = UNITS[number] if number <= 12 else TENS[ten] + (f"-{UNITS[unit]}" if unit else "")
    assert extract_answer(f"The answer is {words}.", "gsm8k") == str(number)
    assert equal(grader, f"\\text{{{words}}}", str(number))
    assert not equal(grader, f"\\text{{{words}}}", str(number + 1))


@given(wholes, st.integers(1, 99))
def test_dollars_and_cents_are_one_amount(grader: Grader, dollars: int, cents: int) -> None:
    gold = f"{dollars}.{cents:02d}"
    for text in (f"{dollars} dollars and {cents} cents", f"\\${dollars} and {cents} cents"):
        assert equal(grader, text, gold)
        assert equal(grader, text, f"\\${gold}")
        assert not equal(grader, text, f"{dollars}.{(cents + 1) % 100:02d}")


@given(st.integers(2, 9), st.integers(-9, 9), st.sampled_from(["<", ">", "\\le", "\\ge"]))
def test_an_inequality_may_be_scaled(grader: Grader, factor: int, end: int, sign: str) -> None:
    flipped = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}[sign]
    gold = f"x {sign} {end}"
    assert equal(grader, f"{factor}x {sign} {factor * end}", gold)
    assert equal(grader, f"-{factor}x {flipped} {-factor * end}", gold)
    assert not equal(grader, f"{factor}x {flipped} {factor * end}", gold)
    assert not equal(grader, f"{factor}x {sign} {factor * end + 1}", gold)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4, unique=True), st.sampled_from(["litres", "red", "parts"]))
def test_boxes_joined_by_words_are_a_list(numbers: list[int], word: str) -> None:
    text = " and ".join(f"\\boxed{{{number}}} {word}" for number in numbers)
    assert extract_answer(f"We mix {text}.", "math") == ", ".join(map(str, numbers))


@given(st.integers(-5, 5), st.integers(1, 9), st.sampled_from(["\\ln", "\\sqrt", "\\arcsin"]))
def test_formulas_that_are_real_on_a_short_interval_are_compared_there(
    grader: Grader, low: int, step: int, function: str
) -> None:
    left, right = f"(x-({low}))", f"({low}+\\frac{{{step}}}{{10}}-x)"
    if function == "\\ln":
        pair = (f"\\ln{left}+\\ln{right}", f"\\ln({left}{right})")
    elif function == "\\sqrt":
        pair = (f"\\sqrt{{{left}}}\\sqrt{{{right}}}", f"\\sqrt{{{left}{right}}}")
    else:
        pair = (f"\\arcsin(x-({low}))", f"\\frac{{\\pi}}{{2}}-\\arccos(x-({low}))")
    assert equal(grader, *pair)
    assert not equal(grader, pair[0], f"{pair[1]}+x^{{2}}")


def test_code_without_its_output_is_no_answer() -> None:
    source = random.Random(3)
    for _ in range(20):
        one, two = source.randrange(2, 99), source.randrange(2, 99)
        code = f"```python\nx = {one}\nprint(x + {two})\n```"
        assert extract_answer(f"We compute it.\n{code}", "math") is None
        assert extract_answer(f"We compute it.\n{code}", "gsm8k") is None
        assert extract_answer(f"We compute it.\n{code}\n```output\n{one + two}\n```", "math") == str(one + two)
