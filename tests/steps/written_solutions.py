r"""Solutions written at random from steps that are known, in the ways that policies and data sets write them.

    written = numbered(Random(0))
    written.text   "We proceed in steps.\n1. Add $x + 1$.\n2. Double it.\n\nThe answer is 14."
    written.steps  ["We proceed in steps.\n1. Add $x + 1$.", "2. Double it.", "The answer is 14."]

Each kind is a function of a source of randomness, so that hypothesis can look for a solution that is split otherwise,
and ``python -m benchmarks.steps`` can count how many of many are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

SENTENCES = [
    "We add 3 and 4 to get 7",
    "So $x = 3.5$ and $y \\ge 2$",
    "Mr. Lee has 3 apples, i.e. 1.5 times as many",
    "The price is \\$5, not \\$6",
    "Hence \\(f(2) = 4\\)",
    "Next, 2. and 3. give 5",
    "In total there are 12",
    "Compute $\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}$",
    "Note that |x| = 3",
    "Wait, I should double it",
]
FORMULAS = [
    "\\[\nx = 1\n\n+ 2.\n\\]",
    "$$\na^2 + b^2 = c^2\n$$",
    "\\begin{align*}\nx &= 1 \\\\\n&= 2\n\\end{align*}",
    "[asy]\ndraw((0,0)--(1,1));\n\ndot((1,1));\n[/asy]",
]
NUMBERINGS: list[Callable[[int], str]] = [
    "{}. ".format,
    "{}) ".format,
    "({}) ".format,
    "[{}] ".format,
    "{}: ".format,
    "Step {}: ".format,
    "Step {}. ".format,
    "Step {} - ".format,
    "step {}) ".format,
    "**Step {}** ".format,
    "**Step {}:** ".format,
    "**Step {}**: ".format,
    "- Step {}: ".format,
    "- **Step {}:** ".format,
    "### Step {}: ".format,
    "#### Step {} ".format,
    "**{}.** ".format,
    "## {}. ".format,
    lambda number: f"Step {['One', 'Two', 'Three', 'Four', 'Five', 'Six'][number - 1]}: ",
    lambda number: "①②③④⑤⑥"[number - 1] + " ",
    "第{}步：".format,
    lambda number: f"第{'一二三四五六'[number - 1]}步，",
    "步骤{}：".format,
    "ステップ{}：".format,
    "{}、".format,
    "（{}）".format,
]
TITLES = ["Add the numbers", "Find $x$", "Understand the problem", "Case analysis"]
CONCLUSIONS = ["The answer is: 13.", "Therefore, the answer is $\\boxed{13}$.", "Thus 13 in all.", "**Answer:** 13"]
CHINESE = ["先算3+4=7", "再乘以2得14", "所以答案是14", "每个苹果3.5元", "他说：“我有5个。”", "因为$x=1$，$y=2$"]
JAPANESE = ["まず3と4を足すと7です", "次に2倍すると14になります", "「14です。」と答えた", "値段は3.5ドルだ"]


@dataclass(frozen=True)
class Written:
    """A solution and its steps.

    Attributes:
        text: the solution.
        steps: the steps it was written from.
    """

    text: str
    steps: list[str]


def _sentence(random: Random) -> str:
    return random.choice(SENTENCES) + random.choice([".", ".", "!", ":"])


def _lines(random: Random, least: int, most: int) -> list[str]:
    return [_sentence(random) for _ in range(random.randint(least, most))]


def numbered(random: Random) -> Written:
    """Numbered steps of one or several lines, with or without blank lines between them and words around them."""
    number = random.choice(NUMBERINGS)
    separator = random.choice(["\n", "\n\n"])
    several = random.random() < 0.5
    steps = []
    for index in range(1, random.randint(2, 6) + 1):
        lines = _lines(random, 0, 2) if several else []
        if several and random.random() < 0.3:
            lines.insert(0, random.choice(FORMULAS))
        if several and random.random() < 0.3:
            lines.append("   - a point of a list\n   - another one")
        steps.append("\n".join([number(index) + _sentence(random), *lines]))
    text = separator.join(steps)
    if random.random() < 0.5:
        first = "Let us go step by step."
        joint = random.choice(["\n", "\n\n"])
        text = first + joint + text
        steps = [first, *steps] if joint == "\n\n" else [first + joint + steps[0], *steps[1:]]
    if random.random() < 0.5:
        conclusion = random.choice(CONCLUSIONS)
        text, steps = f"{text}\n\n{conclusion}", [*steps, conclusion]
    return Written(text, steps)


def numbered_paragraphs(random: Random) -> Written:
    """Numbered steps of up to three paragraphs; another step than the last has several if the last has."""
    number = random.choice(NUMBERINGS)
    counts = [random.randint(0, 2) for _ in range(random.randint(2, 6))]
    if counts[-1] and not any(counts[:-1]):  # what stands below the last may then be no part of it
        counts.reverse()
    steps = [
        "\n\n".join([number(index) + _sentence(random), *("\n".join(_lines(random, 1, 2)) for _ in range(count))])
        for index, count in enumerate(counts, 1)
    ]
    if random.random() < 0.5:
        steps.append(random.choice(CONCLUSIONS))
    return Written("\n\n".join(steps), steps)


def titled(random: Random) -> Written:
    """Steps under headings, each of one or several paragraphs; every step but the last has the most."""
    number = random.choice(
        ["### Step {}: {}", "## Step {}: {}", "**Step {}: {}**", "**Step {}:** {}", "{}. **{}**", "### {}. {}"]
    )
    most = random.randint(1, 3)
    rule = "\n\n---\n\n" if random.random() < 0.3 else "\n\n"
    steps = []
    count = random.randint(2, 5)
    for index in range(1, count + 1):
        paragraphs = ["\n".join(_lines(random, 1, 2)).rstrip(":!") for _ in range(most)]
        steps.append("\n\n".join([number.format(index, random.choice(TITLES)), *paragraphs]))
    conclusion = "### Final Answer\n\n$\\boxed{13}$" if number.startswith("#") else random.choice(CONCLUSIONS)
    if random.random() < 0.5:
        steps.append(conclusion)
    before = [_sentence(random).rstrip(":") for _ in range(random.randint(0, 3))]
    if before or random.random() < 0.5:
        return Written(rule.join(["\n\n".join(before), *steps]).lstrip("\n-"), [*before, *steps])
    return Written("## Solution\n\n" + rule.join(steps), [f"## Solution\n\n{steps[0]}", *steps[1:]])


def _prm800k(random: Random, separator: str) -> Written:
    steps = [_sentence(random) for _ in range(random.randint(2, 8))]
    if random.random() < 0.3:
        steps.insert(1, "We draw it: " + random.choice(FORMULAS))
    if random.random() < 0.8:
        steps[-1] += random.choice(["\n\n", "\n"]) + "# Answer\n\n" + random.choice(["13", "$\\frac{1}{2}$", "(1,\n2)"])
    return Written(separator.join(steps), steps)


def prm800k_lines(random: Random) -> Written:
    """Steps of PRM800K joined by line breaks, most with their ``# Answer``."""
    return _prm800k(random, "\n")


def prm800k_paragraphs(random: Random) -> Written:
    """Steps of PRM800K joined by blank lines."""
    return _prm800k(random, "\n\n")


def reasoning(random: Random) -> Written:
    """A block of reasoning in paragraphs, then a solution."""
    opening, closing = random.choice(
        [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("", "</think>"), ("◁think▷", "◁/think▷")]
    )
    thoughts = ["\n".join(_lines(random, 1, 2)) for _ in range(random.randint(2, 6))]
    if random.random() < 0.2:
        thoughts.insert(1, "I could list cases:\n1. one\n2. two")
    block = opening + random.choice(["\n", ""]) + "\n\n".join(thoughts) + random.choice(["\n", "", "\n\n"]) + closing
    if opening and random.random() < 0.2:
        return Written(block.removesuffix(closing), thoughts)
    solution = random.choice([numbered, titled, prm800k_lines, prm800k_paragraphs])(random)
    text, steps = solution.text, solution.steps
    if random.random() < 0.2:
        text = f"<answer>\n{text}\n</answer>"
    return Written(block + random.choice(["\n\n", "\n"]) + text, [*thoughts, *steps])


def _table(random: Random) -> str:
    columns, rows = random.randint(2, 4), random.randint(2, 4)
    cells = [[str(random.randint(1, 99)) for _ in range(columns)] for _ in range(rows)]
    cells[0] = ["n", "f(n)", "$|x|$", "sum"][:columns]
    body = [" | ".join(row) for row in cells]
    kind = random.choice(["boxed", "open", "plain", "grid"])
    if kind == "grid":
        border = "+" + "----+" * columns
        return "\n".join([border, *(f"| {row} |" for row in body), border])
    if kind == "plain":
        return "\n".join(f"| {row} |" for row in body)
    dashes = random.choice(["---", ":--", ":-:", "-"])
    body.insert(1, "|".join([dashes] * columns))
    return "\n".join(f"| {row} |" if kind == "boxed" else row for row in body)


def _code(random: Random) -> str:
    fence = random.choice(["```", "~~~", "````"])
    language = random.choice(["python", "", "output"])
    return f"{fence}{language}\nx = 1\n\n1. y\n# Answer\nStep 1: z | w\n{fence}"


def _with_block(random: Random, block: str) -> Written:
    steps = [_sentence(random) for _ in range(random.randint(1, 4))]
    steps.insert(random.randint(0, len(steps)), block)
    return Written(random.choice(["\n", "\n\n"]).join(steps), steps)


def tables(random: Random) -> Written:
    """A table among lines or paragraphs."""
    return _with_block(random, _table(random))


def code(random: Random) -> Written:
    """A block of code among lines or paragraphs."""
    return _with_block(random, _code(random))


def chinese(random: Random) -> Written:
    """Sentences of Chinese in one line."""
    return _without_spaces(random, CHINESE)


def japanese(random: Random) -> Written:
    """Sentences of Japanese in one line."""
    return _without_spaces(random, JAPANESE)


def _without_spaces(random: Random, sentences: Sequence[str]) -> Written:
    written = [random.choice(sentences) for _ in range(random.randint(2, 6))]
    steps = [step if step.endswith("”") else step + random.choice("。。！？") for step in written]
    return Written(random.choice(["", " "]).join(steps), steps)


KINDS: dict[str, Callable[[Random], Written]] = {
    "numbered": numbered,
    "numbered_paragraphs": numbered_paragraphs,
    "titled": titled,
    "prm800k_lines": prm800k_lines,
    "prm800k_paragraphs": prm800k_paragraphs,
    "reasoning": reasoning,
    "tables": tables,
    "code": code,
    "chinese": chinese,
    "japanese": japanese,
}
