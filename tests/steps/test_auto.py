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
