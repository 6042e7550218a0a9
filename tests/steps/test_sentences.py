import pytest

from erprm.steps import split_steps

# On Python 3.10 there is no nupunkt.
pytest.importorskip("nupunkt")


@pytest.mark.parametrize(
    "steps",
    [
        ["Mr. Smith has 3.5 lb. of beef.", "He buys 4 more, i.e. 7.5 in all.", "So the answer is $7.50."],
        ["Dr. Jones met Mrs. Lee at 5 p.m. on Jan. 3.", "They left."],
        ["The U.S. has 50 states.", "See Eq. 3 or Fig. 2, e.g. for no. 5."],
        ["Thus 18 - 6 = 12.", "12 + 6 = 18!", "Is it right?", "Yes."],
        ["He pays $5.", "She pays $6 vs. his $5.", "Together $11."],
    ],
)
def test_decimals_abbreviations_and_prices_end_no_sentence(steps: list[str]) -> None:
    assert split_steps(" ".join(steps), "sentences") == steps


@pytest.mark.parametrize(
    "block",
    [
        "$x = 1. Then y$",
        r"\(a. B\)",
        "$$a. B$$",
        "\\[a. B\n\nC\\]",
        r"\begin{a} a. B \end{a}",
        "`a. B()`",
        "[asy]a. B[/asy]",
    ],
)
def test_a_full_stop_within_a_block_ends_no_sentence(block: str) -> None:
    assert split_steps(f"We see {block} here. So we stop.", "sentences") == [f"We see {block} here.", "So we stop."]


@pytest.mark.parametrize("formula", ["$x = 3.$", r"\(x = 3.\)", r"\[x = 3.\]", "$$x = 3. $$"])
def test_a_formula_that_ends_in_a_full_stop_ends_its_sentence(formula: str) -> None:
    assert split_steps(f"Then {formula} Now we stop.", "sentences") == [f"Then {formula}", "Now we stop."]
    assert split_steps(f"Then {formula} and we stop.", "sentences") == [f"Then {formula} and we stop."]


def test_a_sentence_begins_right_after_a_displayed_formula_that_ended_one() -> None:
    assert split_steps(r"So\[x = 3.\]Thus y.", "sentences") == [r"So\[x = 3.\]", "Thus y."]


def test_a_formula_set_apart_belongs_to_the_sentence_around_it() -> None:
    text = "We get\n\n\\[x = 3\\]\n\nwhich is odd.\n\nThus\n\\[y = 4\\]\nNow we stop."
    assert split_steps(text, "sentences") == [
        "We get\n\n\\[x = 3\\]\n\nwhich is odd.",
        "Thus\n\\[y = 4\\]",
        "Now we stop.",
    ]


def test_blank_lines_list_items_and_headings_end_sentences_without_a_full_stop() -> None:
    text = "# The plan\n\nWe have\n- one\n- two\n1. Add them up\n2. Stop. Then rest"
    assert split_steps(text, "sentences") == [
        "# The plan\n\nWe have",
        "- one",
        "- two",
        "1. Add them up",
        "2. Stop.",
        "Then rest",
    ]


def test_the_number_of_an_item_within_a_line_is_no_sentence() -> None:
    assert split_steps("1. Add 3. 2. Then stop.", "sentences") == ["1. Add 3.", "2. Then stop."]


def test_a_line_break_within_a_sentence_does_not_end_it() -> None:
    assert split_steps("We add 3\nand 4. So\n7.", "sentences") == ["We add 3\nand 4.", "So\n7."]


def test_the_gsm8k_answer_joins_the_last_sentence() -> None:
    assert split_steps("She sold 24. In all 72.\n#### 72", "sentences") == ["She sold 24.", "In all 72.\n#### 72"]


@pytest.mark.parametrize(
    "steps",
    [
        ["先算3+4=7。", "再乘以2得14！", "对吗？", "每个3．5元．", "所以$x=1。5$。"],
        ["他说：“我有5个。”", "然后走了。", "5！=120。"],
        ["1.因为x=1.", "所以y=2。"],
        ["「はい。」と言った。", "（3個です。）", "次に14です。"],
    ],
)
def test_sentences_of_chinese_and_japanese_need_no_space_between_them(steps: list[str]) -> None:
    assert split_steps("".join(steps), "sentences") == steps
