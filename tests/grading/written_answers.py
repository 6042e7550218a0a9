r"""Texts written at random round an answer that is known, in the ways that policies state one.

    written = boxes(Random(0))
    written.text   "We set $k = 31$.\nSo it is $\\boxed{17}$."
    written.right  ("17",)      golds that the text answers rightly
    written.wrong  ("18", "31")  golds that it does not

Each kind is a function of a source of randomness. Numbers of the answer are at most 30; the text before the answer
holds larger ones, which are wrong golds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal


@dataclass(frozen=True)
class Written:
    """A text and the golds it is judged against; `kind` is that of the grader."""

    text: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    kind: Literal["gsm8k", "math"] = "math"


def opening(random: Random) -> tuple[str, str]:
    """A beginning of a solution, and the number that it holds."""
    other = str(random.randint(31, 99))
    return random.choice(
        [
            f"We set $k = {other}$ and go on from there.\n",
            f"Let us first count: there are {other} of them.\n\n",
            f"**Step 1:** We need \\(k = {other}\\).\n\n**Step 2:** We use it.\n\n",
            f"First, {other} is what is given.\n",
        ]
    ), other


def small(random: Random) -> int:
    """A number of an answer."""
    return random.randint(2, 30)


def value(random: Random) -> tuple[str, tuple[str, ...]]:
    """A formula, and others near it."""
    a, b, c = random.sample(range(2, 20), 3)
    return random.choice(
        [
            (f"{a}", (f"{a + 1}", f"-{a}")),
            (f"\\frac{{{a}}}{{{2 * b + 19}}}", (f"{a}", f"\\frac{{{a}}}{{{2 * b + 20}}}", f"{2 * b + 19}")),
            (f"{a}\\sqrt{{{b * b + 1}}}", (f"{a}", f"{a + 1}\\sqrt{{{b * b + 1}}}", f"\\sqrt{{{b * b + 1}}}")),
            (f"{a}x^2-{b}x+{c}", (f"{c}", f"{a}x^2+{b}x+{c}", f"{a}X^2-{b}x+{c}")),
            (f"{a}\\pi", (f"{a}", f"{a + 1}\\pi")),
            (f"{a}^{{{b + 30}}}", (f"{a}^{{{b + 30}}}-1", f"{a}", f"{b + 30}")),
        ]
    )


def stated(random: Random, formula: str) -> str:
    """A last sentence that states a formula."""
    return random.choice(
        [
            f"The answer is ${formula}$.",
            f"The answer is: \\({formula}\\).",
            f"Final Answer: ${formula}$",
            f"Therefore, the final answer is ${formula}$. I hope it is correct.",
            f"So we get \\[{formula}.\\]",
            f"Hence the value is ${formula}$.",
            f"<answer>{formula}</answer>",
        ]
    )


# GSM8K


def gsm8k_numbers(random: Random) -> Written:
    """A whole number, in a sentence or after a mark."""
    text, other = opening(random)
    number = random.choice([small(random), random.randint(1000, 999_999), -small(random)])
    written = random.choice([f"{number:,}", str(number), f"**{number:,}**", f"{number}.00", f"\\({number}\\)"])
    ending = random.choice(
        [
            f"The answer is {written}.",
            f"So she has {written} apples left.",
            f"Thus, 3 + 4 makes it {written} in total.",
            f"#### {number}",
            f"Answer: {written} miles",
            f"\\boxed{{{number:,}}}",
            f"Therefore, it costs $\\boxed{{\\${abs(number):,}}}$." if number > 0 else f"It is {number} degrees.",
        ]
    )
    return Written(text + ending, (f"#### {number}",), (f"#### {number + 1}", f"#### {other}"), "gsm8k")


def gsm8k_forms(random: Random) -> Written:
    """A number in another form."""
    a, b = random.sample(range(2, 13), 2)
    words = ["", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    form, number = random.choice(
        [
            (f"{a}k", a * 1000),
            (f"${a}M", a * 10**6),
            (f"{a} million", a * 10**6),
            (f"{a}.5 billion", a * 10**9 + 5 * 10**8),
            (f"{a} {b * 50 + 100}", a * 1000 + b * 50 + 100),
            (f"{a}'{b * 50 + 100}", a * 1000 + b * 50 + 100),
            (words[a], a),
            (f"{words[a]} hundred", a * 100),
            (f"{a} = {a * b} / {b}", a),
            (f"{a * b} = {a} * {b}", a * b),
            (f"{a} \\times {b}", a * b),
            (f"\\sqrt{{{a * a}}}", a),
            (f"\\frac{{{a * b}}}{{{b}}}", a),
            (f"{a}e3", a * 1000),
            (f"{a}^2", a * a),
            (f"{a} 1/2", f"{2 * a + 1}/2"),
            (f"{a}!", _factorial(a)),
        ]
    )
    ending = random.choice(["The answer is {}.", "#### {}", "\\boxed{{{}}}", "Answer: {}"]).format(form)
    wrong = {str(a), str(b)} - {str(number)}
    return Written(opening(random)[0] + ending, (f"#### {number}",), tuple(f"#### {each}" for each in wrong), "gsm8k")


def _factorial(number: int) -> int:
    return 1 if number < 2 else number * _factorial(number - 1)


def gsm8k_parts(random: Random) -> Written:
    """A number that is a part of something larger: no gold is right."""
    a, b = random.sample(range(2, 13), 2)
    larger = random.choice(
        [
            *(f"{a} feet {b} inches", f"{a} hours and {b} minutes", f"{a}h{b}", f"{a}'{b}\"", f"{a} lbs {b} oz"),
            *(f"{a}x + {b}", f"x - {b}", f"{a}n", f"{a}(x+{b})", f"{a}\\pi", f"{a} R {b}", f"{a} remainder {b}"),
            *(f"{a}:{b}", f"{a} to {b}", f"{a}, {b}", f"{a} cats and {b} dogs", f"x = {a}, y = {b}", f"{a} ± {b}"),
            *(f"x > {a}", f"{a}_{b}", f"f({a})", f"{a}/{b}/2024", f"{a} mod {b}"),
        ]
    )
    ending = random.choice(["The answer is {}.", "#### {}", "\\boxed{{{}}}", "Answer: {}", "It is {}."]).format(larger)
    text, other = opening(random)
    return Written(text + ending, (), tuple(f"#### {each}" for each in (a, b, other)), "gsm8k")


# MATH


def headings(random: Random) -> Written:
    """The answer below a heading."""
    text, other = opening(random)
    formula, wrong = value(random)
    heading = random.choice(["# Answer\n\n", "### Final Answer\n", "**Final Answer**\n\n", "**Final Answer:**\n"])
    formula_there = random.choice(["{}", "${}$", "\\[\n{}\n\\]", "$$\n{}\n$$"]).format(formula)
    return Written(text + heading + formula_there, (formula,), (*wrong, other))


def after_hashes(random: Random) -> Written:
    """A formula or a letter after `####`."""
    text, other = opening(random)
    if random.random() < 0.5:
        letter = random.choice("ABCDE")
        return Written(f"{text}So it is option {letter}.\n#### {letter}", (letter,), (_other_letter(letter), other))
    formula, wrong = value(random)
    return Written(f"{text}#### {formula}", (formula,), (*wrong, other))


def boxes(random: Random) -> Written:
    """One box, or several that belong together."""
    text, other = opening(random)
    a, b = random.sample(range(2, 30), 2)
    formula, wrong = value(random)
    return random.choice(
        [
            Written(f"{text}So it is $\\boxed{{{formula}}}$.", (formula,), (*wrong, other)),
            Written(f"{text}\\boxed{{{other}}} is not it, but \\boxed{{{formula}}}.", (formula,), (*wrong, other)),
            Written(f"{text}They are $\\boxed{{{a}}}$ and $\\boxed{{{b}}}$.", (f"{a}, {b}",), (f"{a}", f"{b}")),
            Written(f"{text}Take \\boxed{{{a}}} cups with \\boxed{{{b}}} spoons.", (f"{a}, {b}",), (f"{a}", f"{b}")),
            Written(f"{text}So \\boxed{{{formula}}}.\n\nQuestion: What is 1+1?\n\\boxed{{2}}.", (formula,), (other,)),
        ]
    )


def plain_algebra(random: Random) -> Written:
    """A formula without delimiters in the last sentence."""
    text, other = opening(random)
    a, b, c = random.sample(range(2, 20), 3)
    formula, wrong = random.choice(
        [
            (f"{a}x^2 - {b}x + {c}", (f"{c}", f"-{b}x+{c}", f"{a}x^2")),
            (f"({a}, -{b})", (f"{a}", f"-{b}", f"(-{b}, {a})")),
            (f"(x+{a})(x-{b})", (f"x-{b}", f"x+{a}", f"(x-{a})(x+{b})")),
            (f"sqrt({a * a + 1})/{b}", (f"{b}", f"sqrt({a * a + 1})")),
            (f"y = {a}x + {b}", (f"{b}", f"{a}x", f"y = {b}x + {a}")),
            (f"{a}/{2 * b + 19}", (f"{a}", f"{2 * b + 19}")),
            (f"2^{a + 30} - {b}", (f"{b}", f"2^{a + 30}", f"2^{{{a + 30}}}-{b + 1}")),
        ]
    )
    ending = random.choice(["Hence we get {}.", "So, as wanted, {}", "This simplifies to {}.", "The answer is {}."])
    return Written(text + ending.format(formula), (formula,), (*wrong, other))


def additions(random: Random) -> Written:
    """A value with a condition, a reason, its decimal, a rejected value or the letter it belongs to."""
    text, other = opening(random)
    a, b = random.sample(range(2, 30), 2)
    places = random.choice(
        [
            (f"The value is ${a}$ when $x = {b}$.", f"{a}", f"{b}"),
            (f"So $f(x) = {a}$ for $x = {b}$.", f"{a}", f"{b}"),
            (f"The maximum is ${a}$, attained at $x = {b}$.", f"{a}", f"{b}"),
            (f"The least value is ${a}$, with equality when $x=y={b}$.", f"{a}", f"{b}"),
            (f"It tends to ${a}$ as $n \\to \\infty$.", f"{a}", "\\infty"),
            (f"The answer is ${a}$, since ${a}+{b}={a + b}$.", f"{a}", f"{a + b}"),
            (f"The answer is ${a}$ (see part {b}).", f"{a}", f"{b}"),
            (f"There are ${a}$ possible values of $x$.", f"{a}", "x"),
            (f"So $x = {a}$ (we reject $x = -{b}$).", f"{a}", f"-{b}"),
            (f"It is $\\frac{{{a}}}{{97}}$, or about ${a / 97:.3f}$.", f"\\frac{{{a}}}{{97}}", f"{a}"),
            (f"${a}$ is the value of $x$ that satisfies $x+{b}={a + b}$.", f"{a}", f"{a + b}"),
            (f"The remainder is ${a}$. This answer is correct, as $k={b}$.", f"{a}", f"{b}"),
        ]
    )
    return Written(text + places[0], (places[1],), (places[2], other))


def letters(random: Random) -> Written:
    """A letter of choice in words."""
    text, other = opening(random)
    letter, number = random.choice("ABCDE"), small(random)
    ending = random.choice(
        [
            *("Therefore {} is correct.", "So the correct option is {}.", "Thus, choice {}.", "The answer is ({})."),
            *("Hence ({}) is the correct answer.", "\\boxed{{\\text{{({})}}}}", "The best choice is {}.", "Answer: {}"),
            *(f"The answer is ({{}}) ${number}$.", f"\\boxed{{{{\\textbf{{{{({{}})}}}}\\ {number}}}}}", "故选：{}。"),
        ]
    ).format(letter)
    return Written(text + ending, (letter, f"({letter})"), (_other_letter(letter), other))


def _other_letter(letter: str) -> str:
    return "ABCDE"["ABCDE".index(letter) - 1]


def sets(random: Random) -> Written:
    """Several values, in any order."""
    text, other = opening(random)
    a, b, c = random.sample(range(2, 30), 3)
    formula, gold = random.choice(
        [
            (f"\\{{{a}, {b}, {c}\\}}", f"\\{{{c}, {a}, {b}\\}}"),
            (f"{a}, {b}, {c}", f"{b}, {c}, {a}"),
            (f"x = {a} \\text{{ or }} x = {b} \\text{{ or }} x = {c}", f"{a},{b},{c}"),
        ]
    )
    wrong = (f"{a}", f"{a}, {b}", f"\\{{{a}, {b}, {c + 1}\\}}", f"({a}, {b}, {c}, {a})", other)
    return Written(text + stated(random, formula), (gold,), wrong)


def intervals(random: Random) -> Written:
    """An interval, or the inequality that it is."""
    text, other = opening(random)
    a = small(random)
    b = a + random.randint(1, 9)
    left, right = random.choice("[("), random.choice("])")
    below, above = "\\le" if left == "[" else "<", "\\le" if right == "]" else "<"
    formula = random.choice([f"{left}{a}, {b}{right}", f"{a} {below} x {above} {b}", f"x \\in {left}{a}, {b}{right}"])
    swapped = f"{'(' if left == '[' else '['}{a},{b}{right}"
    wrong = (swapped, f"{left}{a},{b + 1}{right}", f"{a}", f"{b}", other)
    return Written(text + stated(random, formula), (f"{left}{a},{b}{right}",), wrong)


def matrices(random: Random) -> Written:
    """A matrix or a vector."""
    text, other = opening(random)
    a, b, c, d = random.sample(range(2, 30), 4)
    gold = f"\\begin{{pmatrix}} {a} & {b} \\\\ {c} & {d} \\end{{pmatrix}}"
    formula = random.choice([gold, gold.replace("pmatrix", "bmatrix"), f"[[{a}, {b}], [{c}, {d}]]"])
    wrong = (f"\\begin{{pmatrix}} {a} & {c} \\\\ {b} & {d} \\end{{pmatrix}}", f"{d}", f"{a}, {b}, {c}, {d}", other)
    return Written(text + stated(random, formula), (gold,), wrong)


def money(random: Random) -> Written:
    """An amount of money or another quantity with its unit."""
    text, other = opening(random)
    a, b = small(random), random.randint(10, 99)
    formula, right, wrong = random.choice(
        [
            (f"\\${a}.{b}", (f"{a}.{b}", f"\\${a}.{b}"), (f"{a}", f"{b}", f"{a}.{b} cents")),
            (f"{a} dollars and {b} cents", (f"{a}.{b}",), (f"{a}", f"{b}", f"{a + 1}.{b}")),
            (f"{a} \\text{{ cm}}^2", (f"{a}", f"{a} cm^2"), (f"{a} cm", f"{a + 1} cm^2")),
            (f"{a} \\text{{ meters}}", (f"{100 * a} cm", f"{a}"), (f"{100 * a}", f"{a} cm")),
            (f"{a}\\%", (f"{a}\\%", f"{a}"), (f"{a + 1}\\%", f"0.0{a + 1:02d}")),
        ]
    )
    ending = random.choice([f"The answer is {formula}.", f"\\boxed{{{formula}}}", f"# Answer\n\n{formula}"])
    return Written(text + ending, right, (*wrong, other))


def chinese(random: Random) -> Written:
    """A closing line in Chinese."""
    other = str(random.randint(31, 99))
    formula, wrong = value(random)
    letter = random.choice("ABCD")
    number = small(random)
    text, right, not_right = random.choice(
        [
            (f"因此最终答案是 ${formula}$。", formula, wrong),
            (f"故答案为：${formula}$。", formula, wrong),
            (f"所以 $x={number}$。", f"{number}", (f"{number + 1}",)),
            (f"综上所述，面积为{number}平方厘米。", f"{number}", (f"{number + 1}",)),
            (f"答：一共有{number}个苹果。", f"{number}", (f"{number + 1}",)),
            (f"故选{letter}。", letter, (_other_letter(letter),)),
            (f"所以正确选项是{letter}。", letter, (_other_letter(letter),)),
        ]
    )
    return Written(f"设 $k={other}$。\n{text}", (right,), (*not_right, other))


def computations(random: Random) -> Written:
    """The last member of a computation, on one line or several."""
    text, other = opening(random)
    a, b = random.sample(range(2, 15), 2)
    ending = random.choice(
        [
            f"\\begin{{align*}}\nS &= {a}+{b} \\\\\n&= {a + b}.\n\\end{{align*}}",
            f"\\[\\begin{{aligned}} S &= {a}+{b} \\\\ &= {a + b} \\end{{aligned}}\\]",
            f"Hence $S = {a}+{b} = {a + b}$.",
            f"So {a} + {b} = {a + b}.",
            f"Hence $\\binom{{{a}}}{{1}} + {b} = {a + b}$ ways.",
        ]
    )
    return Written(text + ending, (f"{a + b}",), (f"{a}", f"{b}", f"{a + b + 1}", other))


def cut_off(random: Random) -> Written:
    """A text that ends within its answer: no gold is right."""
    text, other = opening(random)
    a, b = random.sample(range(2, 30), 2)
    formula = random.choice(
        [
            f"\\frac{{{a}}}{{{b}}}",
            f"\\sqrt{{{a}}}",
            f"({a}, {b})",
            f"{a}x^2+({b}x",
            f"\\left({a}",
            f"{a} + {b} \\cdot 3",
        ]
    )
    whole = random.choice(["the answer is $x = ", "so \\[x = ", "and it is \\(x = "]) + formula
    cut = whole[: random.randint(whole.index("x = ") + 4, len(whole))]
    return Written(text + cut, (), (f"{a}", f"{b}", other))


KINDS: dict[str, Callable[[Random], Written]] = {
    "GSM8K: a number": gsm8k_numbers,
    "GSM8K: other forms of a number": gsm8k_forms,
    "GSM8K: a number that is a part": gsm8k_parts,
    "`# Answer` and other headings": headings,
    "`#### ` and a formula or a letter": after_hashes,
    "boxes": boxes,
    "algebra in plain text": plain_algebra,
    "a condition, reason or decimal after the value": additions,
    "letters": letters,
    "sets and lists": sets,
    "intervals": intervals,
    "matrices": matrices,
    "money and units": money,
    "Chinese closings": chinese,
    "computations": computations,
    "cut-off texts": cut_off,
}
