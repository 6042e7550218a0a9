r"""How many answer pairs `erprm.grading` judges per second: on GSM8K, on MATH-500, and on pairs that need algebra.

    python benchmarks/grading.py --data ../shared/data

GSM8K: recorded model solutions against the reference solutions, in one process and without sympy. MATH-500: every
gold against rewritten forms of itself (spelling; every fraction expanded by two; every integer written as a sum),
with two worker processes, start-up included and without it. Algebra: 250 generated pairs of formulas that differ in
form, half of them equal; the right verdicts of each kind are counted. Needs `gsm8k_example_solutions.jsonl` and
`math500.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from erprm.grading import Grader

# A whole number that stands for itself: no part of a decimal, of thousands, of a base, of \frac12 or of \sqrt2.
INTEGER = re.compile(
    r"(?<![\d.,_!}])(?<!\\frac)(?<!\\sqrt)(?<!\\frac )(?<!_\{)\d{1,6}(?![\d._]|,\\!|,\d|\\frac|\s\\frac)"
)


def rewritten(gold: str) -> Iterator[str]:
    """Yields answers equal to `gold`: one in another spelling, up to two that take arithmetic or algebra to see."""
    yield gold.replace("\\frac", "\\dfrac").replace("(", "\\left( ").replace(")", "\\right)").replace("+", " + ")
    expanded = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"\\frac{2(\1)}{2(\2)}", gold)
    if expanded != gold and not re.search(r"\d\s*\\d?frac", gold):
        yield expanded
    sums = INTEGER.sub(lambda match: f"({int(match[0]) - 1}+1)", gold)
    if sums != gold and not re.search(r"\\(?:text|mbox|d?frac\s?\d|\$|!)|[a-z] \\in|\d\s?\\d?frac", gold):
        yield sums


def gsm8k_speed(folder: Path) -> tuple[int, float]:
    """Number of pairs and pairs per second of processor time in one process."""
    pairs = []
    for line in (folder / "gsm8k_example_solutions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        pairs += [
            (solution["solution"], row["ground_truth"]) for solution in row.values() if isinstance(solution, dict)
        ]
    with Grader() as grader:
        start = time.process_time()
        grader.grade_batch(pairs, "gsm8k")
        return len(pairs), len(pairs) / (time.process_time() - start)


def math_speed(folder: Path, workers: int) -> dict[str, float]:
    """Counts, pairs per second of wall time (with and without the workers' start-up) and the workers' CPU time."""
    golds = [json.loads(line)["answer"] for line in (folder / "math500.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [(form, gold) for gold in golds for form in rewritten(gold)]
    with Grader(workers=workers) as grader:
        start = time.perf_counter()
        grader.grade_batch([(f"{number}\\sqrt{{8}}", f"{2 * number}\\sqrt{{2}}") for number in range(workers)], "math")
        started = time.perf_counter()
        verdicts = grader.grade_batch(pairs, "math")
        end = time.perf_counter()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the workers, which have ended
    return {
        "pairs": len(pairs),
        "equal": sum(verdicts),
        "killed": len(grader.killed),
        "pairs_per_s": len(pairs) / (end - started),
        "pairs_per_s_with_start_up": len(pairs) / (end - start),
        "cpu_s": spent.ru_utime + spent.ru_stime,
    }


def algebra_pairs(count: int = 250, seed: int = 1) -> list[tuple[str, str, str, bool]]:
    """Pairs (kind, prediction, gold, whether they are equal) that take algebra to judge, made at random."""
    source = random.Random(seed)
    pairs: list[tuple[str, str, str, bool]] = []
    while len(pairs) < count:
        a, b, c, d = (source.randint(2, 9) for _ in range(4))
        kinds = {
            "surds": (
                f"\\sqrt{{{a * a * b}}}+\\frac{{{c}}}{{\\sqrt{{{d}}}}}",
                f"{a}\\sqrt{{{b}}}+\\frac{{{c}\\sqrt{{{d}}}}}{{{d}}}",
            ),
            "nested roots": (f"\\sqrt{{{a + b}+2\\sqrt{{{a * b}}}}}", f"\\sqrt{{{a}}}+\\sqrt{{{b}}}"),
            "polynomials": (f"({a}x+{b})^2({c}x-{d})", f"({a * a}x^2+{2 * a * b}x+{b * b})({c}x-{d})"),
            "rational functions": (
                f"\\frac{{{a}}}{{x-{b}}}+\\frac{{{c}}}{{x+{d}}}",
                f"\\frac{{{a + c}x+{a * d}-{c * b}}}{{(x-{b})(x+{d})}}",
            ),
            "trigonometry": (
                f"{a}\\sin {2 * b}x + {c}\\cos^2 x",
                f"{2 * a}\\sin {b}x\\cos {b}x + {c} - {c}\\sin^2 x",
            ),
            "logarithms": (f"\\ln\\frac{{x+{a}}}{{{b}-x}}+\\ln {c}", f"\\ln(x+{a})-\\ln({b}-x)+\\ln {c}"),
            "exponentials": (f"{a}^{{x+{b}}}\\cdot e^{{{c}x}}", f"{a**b}\\cdot {a}^x (e^x)^{{{c}}}"),
            "complex numbers": (f"({a}+{b}i)({c}-{d}i)", f"{a * c + b * d}+({b * c - a * d})i"),
            "large integers": (f"{a}^{{{20 * b}}}", f"({a}^{{{b}}})^{{20}}"),
            "sums": (f"\\sum_{{k=1}}^{{{a + b}}} k^2", f"\\frac{{{a + b}({a + b}+1)({2 * (a + b)}+1)}}{{6}}"),
        }
        for kind, (one, other) in kinds.items():
            right = source.random() < 0.5
            pairs.append((kind, one, other if right else f"{other}+{source.randint(1, 3)}", right))
    return pairs[:count]


def algebra_speed(workers: int) -> tuple[float, float, dict[str, tuple[int, int]]]:
    """Pairs per second of wall time after start-up, seconds of the slowest pair, and right verdicts of each kind."""
    pairs = algebra_pairs()
    with Grader(workers=workers) as grader:
        grader.grade_batch([(f"{number}\\sqrt{{8}}", f"{2 * number}\\sqrt{{2}}") for number in range(workers)], "math")
        start = time.perf_counter()
        verdicts = grader.grade_batch([(one, other) for _, one, other, _ in pairs], "math")
        seconds = time.perf_counter() - start
    slowest = 0.0
    with Grader(workers=1) as grader:
        grader.grade_batch([("\\sqrt{8}", "2\\sqrt{2}")], "math")
        for _, one, other, _ in pairs:
            start = time.perf_counter()
            grader.grade_batch([(one, other)], "math")
            slowest = max(slowest, time.perf_counter() - start)
    rates: dict[str, tuple[int, int]] = {}
    for (kind, _, _, right), verdict in zip(pairs, verdicts, strict=True):
        count, total = rates.get(kind, (0, 0))
        rates[kind] = (count + (verdict == right), total + 1)
    return len(pairs) / seconds, slowest, rates


ENDINGS = {
    "`# Answer`": "\n# Answer\n\n{}",
    "`**Final Answer**`": "\n\n**Final Answer**\n\n{}",
    "heading, then display brackets": "\n\n### Final Answer\n\n\\[\n{}\n\\]",
    "`#### ` and a formula": "\n#### {}",
    "statement with a remark in brackets": "\nThe answer is ${}$ (see part 2).",
    "bare formula in a last sentence": "\nHence we get {}.",
    "nothing but the solution without `\\boxed`": "",
}


def endings_found(folder: Path) -> dict[str, tuple[int, int]]:
    """Number of MATH-500 solutions still right with their box removed and the gold stated in another way."""
    problems = [json.loads(line) for line in (folder / "math500.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = {}
    with Grader() as grader:
        for name, ending in ENDINGS.items():
            texts = [each["solution"].replace("\\boxed", "") + ending.format(each["answer"]) for each in problems]
            pairs = [(text, each["answer"]) for text, each in zip(texts, problems, strict=True)]
            rates[name] = (sum(grader.grade_batch(pairs, "math")), len(pairs))
    return rates


def cut_off_right(folder: Path, seed: int = 0) -> tuple[int, int, int]:
    """Of 400 MATH-500 solutions cut at random before their box: how many are right, taken as ended and as cut off."""
    source = random.Random(seed)
    problems = [json.loads(line) for line in (folder / "math500.jsonl").read_text(encoding="utf-8").splitlines()][:400]
    pairs = []
    for each in problems:
        before_box = max(21, each["solution"].find("\\boxed"))
        pairs.append((each["solution"][: source.randrange(20, before_box)], each["answer"]))
    with Grader() as grader:
        ended = sum(grader.grade_batch(pairs, "math"))
        cut_off = sum(grader.grade_batch(pairs, "math", truncated=[True] * len(pairs)))
    return ended, cut_off, len(pairs)


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the two files; without it only algebra is measured")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    speed, slowest, rates = algebra_speed(arguments.workers)
    print(f"algebra: 250 pairs, {speed:,.0f} pairs/s with {arguments.workers} workers, slowest {slowest:.2f} s alone")
    for kind, (right, count) in rates.items():
        print(f"  {kind}: {right} of {count} right")
    if arguments.data is None:
        return
    for name, (right, count) in endings_found(arguments.data).items():
        print(f"MATH-500, {name}: {right} of {count} right")
    ended, cut_off, count = cut_off_right(arguments.data)
    print(f"MATH-500, cut before the box: {ended} of {count} right, {cut_off} if told that they were cut off")
    count, speed = gsm8k_speed(arguments.data)
    print(f"GSM8K: {count} pairs, {speed:,.0f} pairs/s per core")
    result = math_speed(arguments.data, arguments.workers)
    print(
        f"MATH-500: {result['pairs']} pairs, {result['equal']} equal, {result['killed']} killed, "
        f"{result['pairs_per_s']:,.0f} pairs/s "
        f"with {arguments.workers} workers ({result['pairs_per_s_with_start_up']:,.0f} with start-up); "
        f"{result['cpu_s']:.1f} s of processor time in the workers, start-up included"
    )


if __name__ == "__main__":
    main()
