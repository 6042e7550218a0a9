import pytest

from erprm.reward_fn import step_credit

SCORES = [0.5, 0.25, 0.75, 0.25]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sum", [0.5, 0.25, 0.75, 0.25]),
        # The first of the two lowest steps has the credit.
        ("min", [0.0, 0.25, 0.0, 0.0]),
        ("difference", [0.5, -0.25, 0.5, -0.5]),
    ],
)
def test_the_forms_give_steps_what_is_said_of_them(form: str, expected: list[float]) -> None:
    assert step_credit(SCORES, form) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("form", "total"), [("sum", 1.75), ("min", 0.25), ("difference", 0.25)])
def test_credit_adds_up_to_the_sum_the_lowest_and_the_last_score(form: str, total: float) -> None:
    assert sum(step_credit(SCORES, form)) == total  # type: ignore[arg-type]


def test_what_comes_after_the_lowest_step_earns_nothing_with_min() -> None:
    credit = step_credit([0.9, 0.1, 0.8], "min")
    assert [sum(credit[step:]) for step in range(3)] == [0.1, 0.1, 0.0]


@pytest.mark.parametrize("form", ["sum", "min", "difference"])
def test_no_step_has_no_credit(form: str) -> None:
    assert step_credit([], form) == []  # type: ignore[arg-type]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form is 'max'; it must be one of sum, min, difference"):
        step_credit(SCORES, "max")  # type: ignore[arg-type]
