import json
import time
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erprm.steps import STEP_STYLES, StepSplit, check_step_style, segment_steps, split_steps
from erprm.steps.sentences import sentences_available

KNOWN_STYLES = [style for style in sorted(STEP_STYLES) if sentences_available() or style not in ("auto", "sentences")]
STYLES = [*KNOWN_STYLES, r"regex:\n+", "regex:(?=[a-z])", r"regex:\. |\s*;"]

# Much that means something to some style, so that short random texts hold blocks, markers and sentences.
WORDS = ["a", "B", ". ", " ", "\t", "\n", "\n\n", "\r\n", "3.5", "Mr. ", "- "]
MARKS = ["1. ", "2) ", "Step 1:", "Step 2: ", " ки", "#### 7", "# Answer"]
DELIMITERS = [
    "```",
    "~~~",
    "`",
    "$",
    "$$",
    r"\[",
    r"\]",
    r"\(",
    r"\)",
    r"\begin{a}",
    r"\end{a}",
    "\\\\",
    "[asy]",
    "[/asy]",
]
PIECES = st.sampled_from([*WORDS, *MARKS, *DELIMITERS])


def joined(split: StepSplit) -> str:
    return split.separators[0] + "".join(a + b for a, b in zip(split.steps, split.separators[1:], strict=True))


@pytest.mark.parametrize("style", STYLES)
@given(text=st.text(max_size=80) | st.lists(PIECES | st.text(max_size=3), max_size=25).map("".join))
def test_steps_and_separators_join_to_the_text_in_every_style(text: str, style: str) -> None:
    split = segment_steps(text, style)
    assert joined(split) == text
    assert all(step.strip() for step in split.steps)
    assert bool(split.steps) == bool(text.strip()) or (style.startswith("regex:") or "ки" in text)
    assert split.ends == tuple(accumulate(map(len, map("".join, _steps_with_what_follows(split))), initial=0))[1:]
    assert segment_steps(text, style) == split


def _steps_with_what_follows(split: StepSplit) -> list[tuple[str, str]]:
    pairs = list(zip(split.steps, split.separators[1:], strict=True))
    return [(split.separators[0] + pairs[0][0], pairs[0][1]), *pairs[1:]] if pairs else []


def test_a_blank_text_has_no_steps() -> None:
    for style in STYLES:
        assert split_steps(" \n\n\t", style) == []
        assert split_steps("", style) == []


def test_a_text_of_one_step_is_that_step() -> None:
    for style in [*KNOWN_STYLES, r"regex:\n"]:
        assert split_steps("The answer is 3.5", style) == ["The answer is 3.5"]


def test_step_ends_include_the_separator_after_the_step() -> None:
    split = segment_steps("3 + 4 = 7\n7 + 8 = 15\n", "lines")
    assert split.ends == (10, 21)


def test_processbench_joined_by_blank_lines_is_split_into_its_own_steps(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "processbench_gsm8k.jsonl").read_text("utf-8").splitlines()]
    assert rows
    for row in rows:
        for style in ("paragraphs", "auto"):
            assert split_steps("\n\n".join(row["steps"]), style) == row["steps"], row["id"]


def test_the_published_math_shepherd_samples_have_one_step_for_each_tag(shared_data: Path) -> None:
    path = shared_data / "step_samples" / "samples_math-shepherd.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows
    for row in rows:
        solution = row["input"][row["input"].index("Step 1:") :]
        expected = [step.strip() for step in solution.split("ки")[:-1]]
        for style in ("math_shepherd", "auto"):
            assert split_steps(solution, style) == expected


@pytest.mark.parametrize("separator", ["\n", "\n\n"])
def test_the_published_prm800k_samples_joined_by_line_breaks_are_split_into_their_own_steps(
    shared_data: Path, separator: str
) -> None:
    rows = (shared_data / "step_samples" / "samples_prm800k.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows
    for row in map(json.loads, rows):
        steps = [
            (step["human_completion"] or step["completions"][step["chosen_completion"] or 0])["text"]
            for step in row["label"]["steps"]
            if step["completions"] or step["human_completion"]
        ]
        for style in ("lines" if separator == "\n" else "paragraphs", "auto"):
            assert split_steps(separator.join(steps), style) == steps


def test_every_gsm8k_solution_has_a_step_a_line_with_the_answer_in_the_last(shared_data: Path) -> None:
    rows = (shared_data / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1319
    for row in map(json.loads, rows):
        lines = [line.strip() for line in row["answer"].split("\n") if line.strip()]
        steps = split_steps(row["answer"], "lines")
        assert [line for step in steps for line in map(str.strip, step.split("\n"))] == lines
        assert len(steps) == len(lines) - 1
        assert split_steps(row["answer"], "auto") == steps


def test_what_a_regular_expression_matches_is_separator() -> None:
    assert split_steps("a => b => c", "regex: => ") == ["a", "b", "c"]
    assert split_steps("Step A: x Step B: y", r"regex:(?=Step [A-Z]:)") == ["Step A: x", "Step B: y"]
    assert split_steps("a\nb", "regex:never") == ["a\nb"]


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("line", r"style is 'line'; it must be one of auto, lines, .*, sentences, or regex:PATTERN"),
        ("", r"style is ''; it must be one of"),
        ("regex:", r"style is 'regex:'; after regex: comes a pattern of what stands between steps"),
        ("regex:(a", r"style is 'regex:\(a', which is not a regular expression: missing \), unterminated subpattern"),
    ],
)
def test_an_impossible_style_is_refused_with_what_is_possible(style: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_steps("text", style)
    with pytest.raises(ValueError, match="data[.]my_" + message):
        check_step_style(style, "data.my_style")


@pytest.mark.parametrize("style", KNOWN_STYLES)
@pytest.mark.parametrize(
    "part",
    [
        " ",
        "\n",
        "\n ",
        ". ",
        "$",
        "\\[",
        "\\(",
        "`",
        "```\n",
        "\\begin{a}",
        "Step 1:",
        "1. ",
        "ки",
        " \t",
        "A.",
        "\\[ \n\n",
    ],
)
def test_time_grows_with_the_length_of_a_text_not_with_its_square(style: str, part: str) -> None:
    # 50,000 characters take well under a second; with their square they would take minutes.
    text = (part * 50_000)[:50_000] + "x"
    start = time.perf_counter()
    split_steps(text, style)
    assert time.perf_counter() - start < 10
