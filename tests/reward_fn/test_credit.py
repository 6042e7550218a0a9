import itertools

import pytest
import torch

from erprm.reward_fn import step_credit, step_returns

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


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sum", [1.75, 1.25, 1.0, 0.25]),
        ("min", [0.25, 0.25, 0.25, 0.25]),
        # The last score, 0.25, minus 0, 0.5, 0.25 and 0.75.
        ("difference", [0.25, -0.25, 0.0, -0.5]),
    ],
)
def test_returns_are_what_the_rest_of_a_solution_earns(form: str, expected: list[float]) -> None:
    assert step_returns(SCORES, form) == expected  # type: ignore[arg-type]


def test_a_step_after_the_worst_is_judged_by_what_comes_after_it() -> None:
    assert step_returns([0.9, 0.1, 0.8, 0.6], "min") == [0.1, 0.1, 0.6, 0.6]
    assert step_returns([], "min") == []


def test_differences_leave_the_policy_gradient_of_the_last_score_as_it_is() -> None:
    # Two steps, each one of two, after the first one of two others: all four solutions, with any scores.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    first, last = torch.rand(2, generator=generator).tolist(), torch.rand(2, 2, generator=generator).tolist()
    log_probs = logits.log_softmax(1)

    def surrogate(returns_of: str) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for a, b in itertools.product((0, 1), repeat=2):
            steps = torch.stack([log_probs[0, a], log_probs[1 + a, b]])
            earned = (
                step_returns([first[a], last[a][b]], "difference") if returns_of == "difference" else [last[a][b]] * 2
            )
            total = total + steps.sum().exp().detach() * (steps * torch.tensor(earned)).sum()
        return total

    gradients = [torch.autograd.grad(surrogate(form), logits, retain_graph=True)[0] for form in ("difference", "last")]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().min() > 1e-3
