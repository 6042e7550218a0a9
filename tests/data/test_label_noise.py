import math

import pytest

from erprm.data.label_noise import label_noise


def test_uniform_success_probabilities_are_found_again() -> None:
    # p uniform in [0, 1]: 0, 1, 2 right of 2 are equally frequent. Var p = 1/12, Var(right / 2) = 1/6. The densities of
    # p given the classes are 3(1 - q²)/2 and 3q² with q = 1 - p, so AUROC = 3/2 ∫ (1 - q²)(1 - q³) dq = 7/8.
    noise = label_noise({(2, 0): 10, (2, 1): 10, (2, 2): 10})
    assert noise is not None
    assert (noise.steps, noise.disagreeing) == (30, 10)
    assert noise.signal == pytest.approx(1 / 2)
    assert noise.auroc_ceiling == pytest.approx(7 / 8, abs=1e-5)


def test_uniform_probabilities_give_the_same_from_four_completions() -> None:
    # Var(right / 4) of the uniform 0 to 4 is 1/8, of which 1/12 is of p. P(at least 2 of 4 | q) = 1 - 4q³ + 3q⁴, so
    # the wrong class has the density 20(q³ - 3q⁴/4)/8 and the share 2/5 of the steps:
    # AUROC = ∫ 5/3 (1 - 4q³ + 3q⁴) (1 - F(q)) dq with F(q) = 5/2 q⁴ - 3/2 q⁵ the share of wrong ones below q.
    q = [(i + 0.5) / 20_000 for i in range(20_000)]
    ceiling = sum(5 / 3 * (1 - 4 * x**3 + 3 * x**4) * (1 - 2.5 * x**4 + 1.5 * x**5) for x in q) / len(q)
    noise = label_noise({(4, right): 1 for right in range(5)})
    assert noise is not None
    assert noise.signal == pytest.approx(2 / 3)
    assert noise.auroc_ceiling == pytest.approx(ceiling, abs=1e-5)


def test_steps_that_always_agree_are_all_signal() -> None:
    noise = label_noise({(4, 0): 3, (4, 4): 1})
    assert noise is not None
    assert noise == pytest.approx((4, 0, 1.0, 1.0))


def test_coins_are_all_noise() -> None:
    # One fair coin for all steps: 0, 1, 2 heads with shares 1/4, 1/2, 1/4.
    noise = label_noise({(2, 0): 1, (2, 1): 2, (2, 2): 1})
    assert noise is not None
    assert noise.signal == 0.0
    assert noise.auroc_ceiling == pytest.approx(0.5, abs=2e-3)  # the fitted distribution keeps a width


def test_steps_that_nobody_solves_have_no_classes() -> None:
    noise = label_noise({(4, 0): 7})
    assert noise is not None
    assert math.isnan(noise.signal)
    assert math.isnan(noise.auroc_ceiling)


def test_mostly_hopeless_steps_reach_far_into_the_tails() -> None:
    # A beta distribution with a + b = 0.01: nearly all steps have p = 0 or p = 1, so nearly nothing is noise.
    noise = label_noise({(8, 0): 99_000, (8, 8): 990, (8, 4): 10})
    assert noise is not None
    assert 0.99 < noise.auroc_ceiling < 1.0


def test_single_completions_say_nothing_about_noise() -> None:
    assert label_noise({(1, 0): 3, (1, 1): 2, (0, 0): 4}) is None
