"""The example of programs: its problems can be solved, its configuration runs, and eta acts on its rewards."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.labels import step_labels
from erprm.data.records import read_records
from erprm.engines.base import Completion, Prompt, Sampling, TokenUsage, encode_prompt
from erprm.grading.programs import ProgramGrader
from tests.conftest import REPOSITORY
from tests.grading.namespaces import needs_namespaces
from tests.tiny import make_tokenizer
from tests.working_folder import CHAT_TEMPLATE

EXAMPLE = REPOSITORY / "examples/code"
SOLVED = {
    "digit_sum": "def digit_sum(n): return sum(map(int, str(abs(n))))",
    "longest_word": "def longest_word(text): return max(text.split(), key=len, default='')",
    "running_max": "from itertools import accumulate\ndef running_max(numbers): return list(accumulate(numbers, max))",
    "is_palindrome": "def is_palindrome(text):\n    kept = [c for c in text.lower() if c.isalnum()]\n"
    "    return kept == kept[::-1]",
    "merge_sorted": "def merge_sorted(a, b): return sorted(a + b)",
    "run_lengths": "import itertools\ndef run_lengths(text):\n"
    "    return [(c, len(list(run))) for c, run in itertools.groupby(text)]",
    "prime_factors": "def prime_factors(n):\n    found, p = [], 2\n    while p * p <= n:\n"
    "        while n % p == 0: found.append(p); n //= p\n        p += 1\n    return found + [n] * (n > 1)",
    "group_by_length": "def group_by_length(words):\n    sizes = set(map(len, words))\n"
    "    return {size: [w for w in words if len(w) == size] for size in sizes}",
    "rotate": "def rotate(items, k):\n    k = -k % len(items) if items else 0\n    return items[k:] + items[:k]",
    "to_roman": "def to_roman(n):\n    pairs = [(1000, 'M'), (900, 'CM'), (500, 'D'), (400, 'CD'), (100, 'C'),\n"
    "             (90, 'XC'), (50, 'L'), (40, 'XL'), (10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]\n"
    "    out = ''\n    for value, letters in pairs:\n        out += letters * (n // value); n %= value\n    return out",
    "mean": "def mean(numbers): return sum(numbers) / len(numbers) if numbers else None",
    "balanced": "def balanced(text):\n    text = ''.join(c for c in text if c in '()[]{}')\n"
    "    for _ in text: text = text.replace('()', '').replace('[]', '').replace('{}', '')\n    return not text",
}  # fmt: skip

# What the first problem's four tests make of them: 0, 7, 1234 and -95 are tried.
PROGRAMS = {
    1.0: SOLVED["digit_sum"],
    0.75: "def digit_sum(n): return sum(map(int, str(n)))",
    0.5: "def digit_sum(n): return n",
    0.0: "def digit_sum(n): return None",
}
# The solutions' own rewards, and those of the two completions of each plan.
PLANS = {"Return the number.": (0.5, (0.5, 0.5)), "Add the digits.": (0.75, (1.0, 0.0))}


class RecordedPrograms:
    """An engine that has two plans, and for each of them two programs."""

    max_length = 4096

    def __init__(self, model: str) -> None:
        self.name, self.usage = model, TokenUsage()
        self.tokenizer = make_tokenizer()
        self.tokenizer.chat_template = CHAT_TEMPLATE

    def fingerprint(self) -> str:
        return "recorded programs"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        return [self._complete(str(self.tokenizer.decode(encode_prompt(self.tokenizer, p)))) for p in prompts]

    def _complete(self, prompt: str) -> list[Completion]:
        texts = [f"{plan}\n{block(PROGRAMS[own])}" for plan, (own, _) in PLANS.items()]
        for plan, (_, rewards) in PLANS.items():
            if plan in prompt:
                texts = [block(PROGRAMS[reward]) for reward in rewards]
        ids = [tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        return [Completion(text, of_text, "stop") for text, of_text in zip(texts, ids, strict=True)]

    def close(self) -> None:
        """Nothing to release."""


def block(program: str) -> str:
    return f"```python\n{program}\n```"


def test_every_problem_can_be_solved_and_not_by_nothing() -> None:
    rows = [json.loads(line) for line in (EXAMPLE / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["problem_id"] for row in rows] == [f"code/{name}" for name in SOLVED]
    grader = ProgramGrader(isolation="limits")
    assert grader.grade_batch([(SOLVED[row["problem_id"][5:]], row["answer"]) for row in rows]) == [1.0] * 12
    assert grader.grade_batch([("", row["answer"]) for row in rows]) == [0.0] * 12


def test_the_configuration_parses_with_the_command_its_header_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert "erprm rollout --config examples/code/rollout.yaml" in (EXAMPLE / "rollout.yaml").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as exit_status:
        main(["rollout", "--config", str(EXAMPLE / "rollout.yaml"), "--print_config"])
    assert exit_status.value.code == 0
    assert "class_path: erprm.grading.programs.ProgramGrader" in capsys.readouterr().out


@needs_namespaces
def test_eta_decides_between_plans_of_one_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    overrides = {
        "model": "recorded",
        "engine": "tests.test_code_example.RecordedPrograms",
        "output_dir": str(tmp_path),
        "limit": 1,
        "solutions_per_problem": 2,
        "completions_per_step": 2,
        "reuse_solutions": "false",
    }
    arguments = [f"--{key}={value}" for key, value in overrides.items()]
    assert main(["rollout", "--config", "examples/code/rollout.yaml", *arguments]) == 0
    records = {record.steps[0]: record for record in read_records(str(tmp_path))}
    safe, bold = (records[plan].rewards for plan in PLANS)
    assert (safe, bold) == ([[0.5, 0.5], [0.5]], [[1.0, 0.0], [0.75]])
    assert not any(record.correct for record in records.values())  # that takes all tests

    # (1 / eta) ln((exp(eta) + 1) / 2) for the bold plan; two equal rewards are their own label at any eta.
    for eta, label in ((2.0, math.log((math.exp(2) + 1) / 2) / 2), (-2.0, -math.log((math.exp(-2) + 1) / 2) / 2)):
        assert step_labels(safe, "er", eta) == pytest.approx([0.5, 0.5])
        assert step_labels(bold, "er", eta) == pytest.approx([label, 0.75])
        assert (label > 0.5) == (eta > 0)
    assert step_labels(bold, "soft") == pytest.approx([0.5, 0.75])
