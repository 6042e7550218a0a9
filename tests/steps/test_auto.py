import pytest

from erprm.steps import choose_style, split_steps

# On Python 3.10 there is no nupunkt.
pytest.importorskip("nupunkt")


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("Step 1: a ки\n\nStep 2: b ки", "math_shepherd"),
        ("a ки\nb ки", "math_shepherd"),
        ("Step 1: a\nStep 2: b", "numbered"),
        ("**Step 1:**\n\na\n\n**Step 2:**\n\nb", "numbered"),
        ("We go by steps.\n\nStep 1: a\n\nStep 2: b\n\nSo 7.", "paragraphs"),
        ("a\n\nb\nc\n#### 7", "lines"),
        ("a\n\n1. b\n\n2. c", "paragraphs"),
        ("So:\n1. a\n2. b", "numbered"),
        ("a\nb", "lines"),
        ("We add. Then we stop.", "sentences"),
        ("We add\n\\[a\n\n1. b\n2. c\\]", "lines"),
        ("See \\[a\n\nStep 1: b\nStep 2: c\\] here.", "sentences"),
        ("Step 1: only one. It stops.", "sentences"),
        ("", "sentences"),
    ],
)
def test_the_style_is_that_of_the_first_rule_that_holds(text: str, style: str) -> None:
    assert choose_style(text) == style
    assert split_steps(text, "auto") == split_steps(text, style)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        # A line above the first number belongs to it; paragraphs around the numbers are steps.
        ("We add.\n1. a\n2. b\n\nThe answer is 7.", ["We add.\n1. a", "2. b", "The answer is 7."]),
        ("Hm.\n\nWe add.\n\n1. a:\n\nx\n\n2. b:\n\ny", ["Hm.", "We add.", "1. a:\n\nx", "2. b:\n\ny"]),
        ("First x.\nThen y.\n### Step 1\na\n### Step 2\nb", ["First x.", "Then y.", "### Step 1\na", "### Step 2\nb"]),
        ("1. a\n\nx\n\n2. b\n\ny\n\nSo the answer is 7.", ["1. a\n\nx", "2. b\n\ny", "So the answer is 7."]),
        ("## 1. a\n\nx\n\ny\n\n## 2. b\n\nz\n\n## So\n\n7", ["## 1. a\n\nx\n\ny", "## 2. b\n\nz", "## So\n\n7"]),
        # What follows a short list is no part of its last item.
        (
            "Cases:\n1. x\n2. y\nOne is 3.\nTwo is 4.\nSo 7.",
            ["Cases:", "1. x", "2. y", "One is 3.", "Two is 4.", "So 7."],
        ),
        ("Cases:\n1. x\n2. y\n\nOne.\n\nTwo.\n\nSo 7.", ["Cases:\n1. x\n2. y", "One.", "Two.", "So 7."]),
        # Numbers in bold, with lists between them.
        ("**1. A**\n1. x\n2. y\n3. z\n**2. B**\nb", ["**1. A**\n1. x\n2. y\n3. z", "**2. B**\nb"]),
        # Numbers of a preamble.
        ("(1) x\n(2) y\n1. a\n2. b\n3. c", ["(1) x", "(2) y", "1. a", "2. b", "3. c"]),
        # The final answer.
        ("1. a\n2. b\n\n# Answer\n\n1. 7\n2. 8", ["1. a", "2. b\n\n# Answer\n\n1. 7\n2. 8"]),
        ("a\nb\n# Answer\n\n7", ["a", "b\n# Answer\n\n7"]),
        ("# Answer\n\n7", ["# Answer\n\n7"]),
    ],
)
def test_what_stands_around_numbered_steps_is_taken_apart(text: str, steps: list[str]) -> None:
    assert split_steps(text, "auto") == steps


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("<think>\na\n\nb\n</think>\n\nc", ["a", "b", "c"]),
        ("<think>a\nb</think>c", ["a", "b", "c"]),
        ("a\n\nb</think>\n1. c\n2. d", ["a", "b", "1. c", "2. d"]),
        ("<think>\na\n\nb is cut", ["a", "b is cut"]),
        ("<think>a\n\n1. x\n2. y</think>\n<answer>\nc\n</answer>", ["a", "1. x\n2. y", "c"]),
        ("<think>a</think>b\n\nc<think>d</think>e", ["a", "b", "c", "d", "e"]),
        ("<think>a\n\nb</think>\n#### 7", ["a", "b</think>\n#### 7"]),
        ("<think></think>", ["<think></think>"]),
    ],
)
def test_reasoning_is_split_by_itself(text: str, steps: list[str]) -> None:
    assert split_steps(text, "auto") == steps
