import random

import pytest

from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.templates import template_named

# A chair costs $60, 30% off, 8 of them, paid with $800: 18, 42, 336, 464.
DISCOUNT = StoryChecker(*template_named("stories/discount/a=60,p=30,b=8,c=800"))
# 14 baskets of 30 and 15 of 16 into crates of 6: 420, 240, 660, 110.
ORCHARD = StoryChecker(*template_named("stories/orchard/a=14,b=30,c=15,d=16,e=6"))
# 30 minutes on 4 days, a km in 5 minutes, 2 weeks: 120, 24, 48.
RUNNER = StoryChecker(*template_named("stories/runner/a=30,b=4,c=5,d=2"))


def verdicts(checker: StoryChecker, text: str) -> str:
    """The first letters of the verdicts, a line a step."""
    return "".join(check.verdict[0] for check in checker.check(text.split("\n")))


@pytest.mark.parametrize(
    "text",
    [
        "30% of $60 = $18\n$60 - $18 = $42\n$42 x 8 = $336\n$800 - $336 = $464\n#### 464",
        "100% - 30% = 70%\n70% of $60 = $42\n42 * 8 = 336\n800 - 336 = 464\n#### $464",
        "100 - 30 = 70\n60 × 70/100 = 42\nSo they cost 8 × 42 = <<8*42=336>>336 dollars.\n800 − 336 = 464\n#### 464",
        "8 x $60 = $480\n30% of $480 = $144\n$480 - $144 = $336\n$800 - $336 = $464\n#### 464",
        "60 x 0.7 = 42\n8 x 42 = 336\nThe chairs cost $336 in all.\n800 - 336 = 464",
        "800 - 8 x (60 - 60 x 30 / 100) = 464\n#### 464",
        "$800 - 8 x $60 = $320\n8 x $60 x 0.3 = 480 x 0.3 = $144.00\n320 + 144 = 464\n#### 464",
    ],
)
def test_every_right_way_to_solve_a_problem_is_right_in_every_line(text: str) -> None:
    assert set(verdicts(DISCOUNT, text)) == {"r"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("42 x 8 = 336", "42 is not known here"),
        ("60 x 8 = 490", "the result is 480"),
        ("60 + 8 = 68", "it computes no part of the answer"),
        ("$60 - 30 = $30", "it computes no part of the answer"),
        ("800 / 8 = 100", "it computes no part of the answer"),
        ("60 x 7 = 420", "7 is not known here"),
        ("(60 x 8 = 480", "a bracket is not closed"),
        ("60 x 8 =", "a number is missing"),
        ("60 chairs 8 = 480", "'8' stands where none can"),
        ("60 x 8 = 400 + 80", "what follows the last = is not a single number"),
        ("60 / (8 - 8) = 0", "something is divided by zero"),
        ("3 chairs were broken.", "3 is not known here"),
        ("#### 336", "it is not the answer"),
        ("#### 464 or 465", "the answer is not a single number"),
        ("9999999999999 + 1 = 3", "a number has more than 12 digits"),
        ("(" * 50 + "60" + ")" * 50 + " = 60", "there are more than 60 numbers and signs"),
        ("+".join(["60"] * 20) + " = 1200", "there are more than 12 numbers"),
    ],
)
def test_a_wrong_line_is_wrong_for_its_reason(line: str, reason: str) -> None:
    (check,) = DISCOUNT.check([line])
    assert (check.verdict, check.reason) == ("wrong", reason)


def test_a_line_may_be_wrong_in_one_place_and_right_in_another() -> None:
    # 336 is not known before its line, and nobody can stop at it.
    assert verdicts(DISCOUNT, "800 - 336 = 464\n60 x 0.7 = 42\n42 x 8 = 336\n800 - 336 = 464") == "wrrr"
    assert verdicts(DISCOUNT, "60 x 0.7 = 42\n#### 42") == "rw"


def test_what_rightly_builds_on_a_wrong_line_follows_from_it() -> None:
    text = "30% of 60 = 20\n60 - 20 = 40\n40 x 8 = 320\n800 - 320 = 480\n#### 480"
    assert verdicts(DISCOUNT, text) == "wffff"
    # A second mistake is wrong by itself.
    assert verdicts(DISCOUNT, "30% of 60 = 20\n60 - 20 = 30\n#### 11") == "www"
    # What does not use the wrong line stays right.
    assert verdicts(ORCHARD, "14 x 30 = 410\n15 x 16 = 240\n410 + 240 = 650") == "wrf"


def test_an_operation_or_a_quantity_that_does_not_belong_there_is_wrong() -> None:
    assert verdicts(ORCHARD, "14 x 16 = 224") == "w"
    assert verdicts(ORCHARD, "14 x 15 = 210") == "w"
    assert verdicts(ORCHARD, "14 + 15 = 29\n30 + 16 = 46\n29 x 46 = 1334\n#### 1334") == "wwff"
    assert verdicts(ORCHARD, "14 x 30 + 15 x 16 = 660\n660 x 6 = 3960") == "rw"


def test_products_may_be_taken_in_any_order_and_quotients_apart() -> None:
    for text in ("4 x 2 = 8\n8 x 30 = 240\n240 / 5 = 48", "30 / 5 = 6\n6 x 4 = 24\n24 x 2 = 48"):
        assert verdicts(RUNNER, text + "\n#### 48") == "rrrr"
    assert verdicts(ORCHARD, "30 / 6 = 5\n14 x 5 = 70\n15 x 16 = 240\n240 / 6 = 40\n70 + 40 = 110\n#### 110") == "r" * 6
    assert verdicts(RUNNER, "5 / 30 = 0.5") == "w"


def test_a_step_of_two_lines_is_as_wrong_as_its_worst() -> None:
    steps = ["60 x 8 = 480", "480 x 0.7 = 336", "800 - 336 = 464\n#### 465"]
    checks = DISCOUNT.check(steps)
    assert [check.verdict for check in checks] == ["right", "right", "wrong"]
    assert first_wrong(checks) == 2
    assert first_wrong(checks[:2]) == -1


def test_the_right_answer_is_right_whatever_led_to_it() -> None:
    assert verdicts(DISCOUNT, "60 + 8 = 68\n#### 464") == "wr"


def test_no_text_breaks_the_checker() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(
            rng.choices(["60", "8", "0", " ", "x", "-", "/", "(", ")", "%", " of ", "=", ".", "\n", "#### "], k=25)
        )
        steps = [step for step in text.split("\n") if step.strip()]
        assert len(DISCOUNT.check(steps)) == len(steps)
