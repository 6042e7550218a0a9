import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.metrics import random_text_accuracy, random_text_curves
from tests.metrics.enumeration import mean_over_subsets, random_text

POOL = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=7)


@settings(max_examples=25)
@given(POOL)
def test_random_text_estimates_mean_over_all_subsets_and_orders(pool: list[tuple[int, float]]) -> None:
    texts, correct = zip(*pool, strict=True)
    value = random_text(texts, correct)
    expected = [mean_over_subsets(len(pool), n, value) for n in range(1, len(pool) + 1)]

    # The same problem in 100 rows of 200 orders each: a standard error of at most 0.5 / sqrt(20000) = 0.0035.
    rows = torch.tensor([pool] * 100, dtype=torch.float64)
    curves = random_text_curves(rows[..., 0].long(), rows[..., 1], n_draws=200)
    assert curves.mean(dim=0).tolist() == pytest.approx(expected, abs=5 * 0.0036)


def test_one_draw_is_mean_accuracy_exactly() -> None:
    texts, correct = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[True, True, True, False]])
    assert random_text_accuracy(texts, correct, n=1, n_draws=3).item() == pytest.approx(0.75, abs=1e-12)


def test_one_right_text_among_distinct_wrong_ones_falls_far_below_pass_at_1() -> None:
    # 16 copies of the right text and 16 different wrong ones: of all 32 candidates, one of 17 texts comes first.
    texts = torch.cat([torch.zeros(16, dtype=torch.long), torch.arange(1, 17)]).expand(400, 32)
    curve = random_text_curves(texts, texts == 0).mean(dim=0)
    assert curve[0].item() == pytest.approx(0.5)
    # Standard error: sqrt(1/17 * 16/17 / (400 * 100)) = 0.0012.
    assert curve[-1].item() == pytest.approx(1 / 17, abs=0.006)


def test_padding_does_not_count() -> None:
    texts, correct = torch.tensor([[4, -7, 4, 9]]), torch.tensor([[1.0, 0.0, 1.0, 5.0]])
    curve = random_text_curves(texts, correct, torch.tensor([[True, False, True, False]]))[0]
    assert curve[:2].tolist() == pytest.approx([1, 1])
    assert curve[2:].isnan().all()


def test_bad_input_is_refused() -> None:
    correct = torch.ones(1, 2)
    with pytest.raises(ValueError, match="texts_PN of problem 0, candidate 0 is -1: ids start at 0"):
        random_text_curves(torch.tensor([[-1, 0]]), correct)
    with pytest.raises(ValueError, match=re.escape("texts_PN must hold integers, found torch.bool")):
        random_text_curves(torch.tensor([[True, False]]), correct)
    with pytest.raises(ValueError, match="n_draws must be at least 1, found 0"):
        random_text_curves(torch.tensor([[0, 1]]), correct, n_draws=0)
