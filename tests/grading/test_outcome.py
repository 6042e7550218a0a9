"""Outcome rewards for tasks that are not mathematics."""

import pytest

from erprm.grading import Grader, GradingError, OutcomeGrader, check_grading, open_grader, outcome_rewards
from tests import own_graders
from tests.own_graders import token_f1


def test_a_function_grades_free_text() -> None:
    grader: OutcomeGrader = token_f1
    pairs = [("the cat sat", "The cat sat"), ("a dog", "the cat"), ("the cat", "the black cat")]
    assert outcome_rewards(grader, pairs) == [1.0, 0.0, pytest.approx(4 / 5)]  # F1 = 2 * 2 / (2 + 3)


def test_a_grader_of_answers_is_an_outcome_grader() -> None:
    grader: OutcomeGrader = Grader()
    assert grader("\\boxed{0.5}", "\\frac12") == 1.0
    assert outcome_rewards(grader, [("#### 5", "#### 5"), ("#### 6", "#### 5")]) == [1.0, 0.0]


@pytest.mark.parametrize("reward", [1.5, -0.1, float("nan"), None, "much"])
def test_a_reward_outside_the_unit_interval_is_refused(reward: object) -> None:
    with pytest.raises(
        GradingError, match=r"grading: .*returned .*, expected a number in \[0, 1\]; prediction 'a', gold 'b'"
    ):
        outcome_rewards(lambda *_: reward, [("a", "b")], key="grading")  # type: ignore[arg-type]


def test_a_grader_that_raises_is_named_with_the_pair_and_keeps_its_cause() -> None:
    with pytest.raises(
        GradingError, match=r"grading: broken raised ZeroDivisionError: .*; prediction 'a', gold 'b'"
    ) as info:
        outcome_rewards(own_graders.broken, [("a", "b")], key="grading")
    assert isinstance(info.value.__cause__, ZeroDivisionError)


def test_a_batch_grader_must_return_one_reward_a_pair() -> None:
    class Short:
        def grade_batch(self, pairs: object) -> list[float]:
            return [1.0]

    with pytest.raises(GradingError, match="returned 1 rewards for 2 pairs"):
        outcome_rewards(Short(), [("a", "b"), ("a", "b")])


PAIRS = [("the red cat", "The cat"), ("a dog", "the cat")]


@pytest.mark.parametrize(
    ("setting", "rewards"),
    [
        ("tests.own_graders.token_f1", [0.8, 0.0]),  # 2 * 2 / (3 + 2)
        ("tests.own_graders:token_f1", [0.8, 0.0]),
        (token_f1, [0.8, 0.0]),
        ("tests.own_graders.Keywords", [0.5, 0.0]),  # "The" is not "the"
        ({"class_path": "tests.own_graders.Keywords", "init_args": {"fold_case": True}}, [1.0, 0.0]),
        ({"class_path": "tests.own_graders.Keywords", "init_args": {"penalty": 0.25}}, [0.25, 0.0]),
    ],
)
def test_a_setting_names_a_function_or_a_class_with_its_arguments(setting: object, rewards: list[float]) -> None:
    check_grading(setting, "grading")  # type: ignore[arg-type]
    with open_grader(setting, "grading") as grader:  # type: ignore[arg-type]
        assert outcome_rewards(grader, PAIRS) == pytest.approx(rewards)


def test_a_kind_of_answer_is_graded_by_a_grader_with_the_arguments_given() -> None:
    with open_grader("math", "grading", workers=1) as grader:
        assert isinstance(grader, Grader)
        assert grader.workers == 1
        assert outcome_rewards(grader, [("2\\sqrt2", "\\sqrt8"), ("2", "3")], "math") == [1.0, 0.0]


def test_a_grader_is_closed_even_after_an_error() -> None:
    own_graders.opened.clear()
    with pytest.raises(KeyError), open_grader("tests.own_graders.Keywords", "grading"):
        raise KeyError
    assert own_graders.opened == ["closed"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "gsm9k",
            "grading: got 'gsm9k', expected one of auto, gsm8k, math, the import path of a function, or class_path",
        ),
        ("no_such.module", "grading: cannot import 'no_such.module': No module named 'no_such'.*working folder"),
        ("tests.own_graders.gone", "grading: cannot import .*has no attribute 'gone'"),
        ("tests.own_graders.NOT_CALLABLE", "grading: 'tests.own_graders.NOT_CALLABLE' is 3, which cannot be called"),
        ("tests.own_graders.one_argument", "grading: .*expected a function of \\(prediction, gold\\)"),
        (
            {"class_path": "tests.own_graders.Keywords", "init_args": {"fold": 1}},
            "grading.init_args: .*'fold'; expected",
        ),
        ({"class_path": "tests.own_graders.Gone"}, "grading.class_path: cannot import"),
        ({"path": "tests.own_graders.Keywords"}, "grading: got {'path': .*expected one of"),
        ({"class_path": "tests.own_graders.Keywords", "init_args": [1]}, "grading: got"),
    ],
)
def test_a_setting_that_names_no_grader_is_refused_with_its_key(setting: object, message: str) -> None:
    with pytest.raises(GradingError, match=message):
        check_grading(setting, "grading")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"numerator": "x", "denominator": 2}, "kind: Fraction cannot be made: TypeError"),
        ({}, r"kind: Fraction has neither __call__\(prediction, gold\) nor grade_batch"),
    ],
)
def test_a_class_that_cannot_be_made_or_called_is_named(arguments: dict[str, object], message: str) -> None:
    setting = {"class_path": "fractions.Fraction", "init_args": arguments}
    with pytest.raises(GradingError, match=message), open_grader(setting, "kind"):
        pass
