import pytest

from erprm.steps import split_steps
from erprm.steps.numbered import find_markers

FORMULA = "\\[\nx = 1\n\n+ 2.\n\\]"
CODE = "```python\nx = 1\n\n1. y\n```"


# lines


def test_lines_are_steps_and_the_final_answer_line_joins_the_last_step() -> None:
    text = "Natalia sold 48/2 = 24 clips in May.\nTogether 48+24 = 72.\n#### 72"
    assert split_steps(text, "lines") == ["Natalia sold 48/2 = 24 clips in May.", "Together 48+24 = 72.\n#### 72"]


def test_blank_lines_and_surrounding_space_are_no_part_of_a_line_step() -> None:
    assert split_steps("\n  3 + 4 = 7 \n\n\t\r\n7 + 8 = 15\n", "lines") == ["3 + 4 = 7", "7 + 8 = 15"]


def test_a_final_answer_alone_is_a_step() -> None:
    assert split_steps("#### 72", "lines") == ["#### 72"]


def test_a_final_answer_joins_its_step_though_the_policy_went_on() -> None:
    assert split_steps("7 + 8 = 15\n#### 15\nso", "lines") == ["7 + 8 = 15\n#### 15", "so"]
    assert split_steps("a\n####\n7", "lines") == ["a\n####", "7"]
    assert split_steps("a\n#### $-1,000", "lines") == ["a\n#### $-1,000"]
    assert split_steps("a\n#### x + 1", "lines") == ["a\n#### x + 1"]


def test_a_heading_before_other_lines_is_no_final_answer_but_belongs_to_the_step_below_it() -> None:
    for heading in ("#### b", "#### **b**", "##### 1"):
        assert split_steps(f"a\n{heading}\nc", "lines") == ["a", f"{heading}\nc"]


@pytest.mark.parametrize("style", ["lines", "paragraphs", "sentences"])
def test_the_answer_of_a_prm800k_solution_joins_the_last_step(style: str) -> None:
    assert split_steps("So p = 29.\n\n# Answer\n\n29", style) == ["So p = 29.\n\n# Answer\n\n29"]


@pytest.mark.parametrize("block", [FORMULA, CODE, "$$a\nb$$", "\\begin{align}\na\\\\\nb\n\\end{align}"])
def test_a_block_of_several_lines_counts_as_one_line(block: str) -> None:
    assert split_steps(f"We see\n{block}\nso 3.", "lines") == ["We see", block, "so 3."]


def test_a_formula_of_several_lines_may_stand_within_a_line() -> None:
    assert split_steps(f"We see {FORMULA} so\n3.", "lines") == [f"We see {FORMULA} so", "3."]


# paragraphs


def test_paragraphs_are_split_at_blank_lines_only() -> None:
    text = "First,\nwe add.\n\nThen\n \nwe stop.\n"
    assert split_steps(text, "paragraphs") == ["First,\nwe add.", "Then", "we stop."]


def test_spaces_at_the_end_of_a_paragraph_stay_with_it() -> None:
    assert split_steps("Step by step! \n\nThen 7. \r\n\r\nSo \t", "paragraphs") == [
        "Step by step! ",
        "Then 7. ",
        "So \t",
    ]


@pytest.mark.parametrize("block", [FORMULA, CODE, "\\begin{align}\na\n\nb\n\\end{align}", "```\nnot closed\n\nnever"])
def test_a_blank_line_within_a_block_ends_no_paragraph(block: str) -> None:
    assert split_steps(f"We see\n\n{block}", "paragraphs") == ["We see", block]


# numbered


@pytest.mark.parametrize(
    "text",
    [
        "1. a\n2. b\n3. c",
        "1) a\n\n2) b\n\n3) c",
        "(1) a\n(2) b\n(3) c",
        "Step 1: a\nStep 2: b\nstep 3: c",
        "**Step 1:** a\n**Step 2**: b\n**Step 3: c**",
        "### Step 1\na\n### Step 2 - b\n### Step 3. c",
        "**1.** a\n**2. b**\n3. c",
        "3. a\n4. b\n5. c",
    ],
)
def test_a_numbered_step_runs_from_its_number_to_the_next(text: str) -> None:
    starts = [0, *(text.index("\n", text.index(letter)) + 1 for letter in "ab")]
    first, second, third = starts
    expected = [text[first:second].strip(), text[second:third].strip(), text[third:].strip()]
    assert split_steps(text, "numbered") == expected


def test_what_stands_before_the_first_number_joins_its_step_and_the_conclusion_the_last() -> None:
    text = "We go by steps.\n\n1. a\n\n2. b\n\nSo 7."
    assert split_steps(text, "numbered") == ["We go by steps.\n\n1. a", "2. b\n\nSo 7."]


@pytest.mark.parametrize(
    "inner",
    ["  1. x\n  2. y", "1. x\n1. y", "1) x\n2) y", "- x\n- y", "3.5 is x\n2.5 is y", "2024. x", FORMULA, CODE, "7. x"],
)
def test_a_list_within_a_step_is_part_of_it(inner: str) -> None:
    text = f"1. a:\n{inner}\n2. b"
    assert split_steps(text, "numbered") == [f"1. a:\n{inner}", "2. b"]


def test_numbers_mark_no_step_where_steps_are_named() -> None:
    text = "Step 1: a:\n1. x\n2. y\nStep 2: b"
    assert split_steps(text, "numbered") == ["Step 1: a:\n1. x\n2. y", "Step 2: b"]


def test_a_sentence_about_a_step_marks_none() -> None:
    assert find_markers("Step 1 gives 5.\nIn Step 2: nothing\n1.5 is x").starts == []


# math_shepherd


def test_math_shepherd_steps_lose_their_tags_and_keep_their_numbers() -> None:
    text = "Step 1: 3 + 5 = 8. ки\nStep 2: 40 * 3 = 120. ки\nStep 3: The answer is: 960 ки"
    assert split_steps(text, "math_shepherd") == [
        "Step 1: 3 + 5 = 8.",
        "Step 2: 40 * 3 = 120.",
        "Step 3: The answer is: 960",
    ]


def test_math_shepherd_steps_are_found_without_tags_and_keep_inner_newlines() -> None:
    text = "Let us see.\nStep 1: 3 + 5\n= 8.\nStep 2: The answer is: 8"
    assert split_steps(text, "math_shepherd") == ["Let us see.\nStep 1: 3 + 5\n= 8.", "Step 2: The answer is: 8"]


def test_math_shepherd_steps_are_found_where_the_line_break_after_a_tag_is_gone() -> None:
    assert split_steps("Step 1: 3. киStep 2: 4 ки", "math_shepherd") == ["Step 1: 3.", "Step 2: 4"]
    assert split_steps("Step 1: see Step 7: 3\n Step 2: 4", "math_shepherd") == ["Step 1: see Step 7: 3", "Step 2: 4"]
