import pytest

from erprm.steps import split_steps
from erprm.steps.headings import is_heading


@pytest.mark.parametrize(
    "line",
    [
        "## Solution",
        "### Step 1: Add 3 and 4",
        "**Step 1:**",
        "**Step 1: Find x.**",
        "**Understanding the problem**",
        "__Title__",
        "1. **Find $x$**:",
        "Step 2",
        "Solution:",
        "第一步：",
        "**解答：**",
    ],
)
def test_a_line_that_only_announces_is_a_heading(line: str) -> None:
    assert is_heading(line)
    assert split_steps(f"a\n\n{line}\n\nb", "paragraphs") == ["a", f"{line}\n\nb"]


@pytest.mark.parametrize(
    "line",
    [
        "**The answer is 14.**",
        "**Answer: 14**",
        "### Final Answer: 14",
        "### Step 1: 3 + 4 = 7",
        "We have:",
        "The answer is 7",
        "**a** and **b**",
        "Step 1 gives 7",
        "#hash",
    ],
)
def test_a_line_that_states_something_is_no_heading(line: str) -> None:
    assert not is_heading(line)
    assert split_steps(f"a\n\n{line}\n\nb", "paragraphs") == ["a", line, "b"]


def test_headings_in_a_row_belong_to_the_step_below_them_all() -> None:
    assert split_steps("# A\n\n## B\n\nc", "paragraphs") == ["# A\n\n## B\n\nc"]


def test_a_heading_at_the_end_belongs_to_the_step_above_it_and_words_in_bold_there_are_a_step() -> None:
    assert split_steps("a\n\n### Conclusion", "paragraphs") == ["a\n\n### Conclusion"]
    assert split_steps("a\n\n**Fourteen**", "paragraphs") == ["a", "**Fourteen**"]


@pytest.mark.parametrize("style", ["lines", "paragraphs"])
@pytest.mark.parametrize("rule", ["---", "***", "* * *", "___", "=====", "</answer>", "⸻"])
def test_a_rule_or_a_bare_tag_is_separator(style: str, rule: str) -> None:
    joint = "\n" if style == "lines" else "\n\n"
    assert split_steps(joint.join([rule, "a", rule, "b", rule]), style) == ["a", "b"]


def test_a_rule_at_the_end_of_a_numbered_step_is_separator() -> None:
    assert split_steps("1. a\n\n---\n\n2. b", "numbered") == ["1. a", "2. b"]


def test_a_text_of_a_rule_alone_or_a_heading_alone_is_one_step() -> None:
    assert split_steps("---", "lines") == ["---"]
    assert split_steps("## Solution", "paragraphs") == ["## Solution"]
