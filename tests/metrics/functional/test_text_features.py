import math

import pytest
import torch

from erprm.metrics import within_problem_rank_correlation

ALL = torch.ones(1, 4, dtype=torch.bool)


def test_ties_share_their_mean_rank() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: products about the means sum to 4.5, squares to 4.5 and 5.
    rho = within_problem_rank_correlation(torch.tensor([[0.1, 0.5, 0.5, 0.9]]), torch.tensor([[10, 30, 20, 99]]), ALL)
    assert rho.item() == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_problems_are_correlated_each_for_itself() -> None:
    scores = torch.tensor([[1.0, 2.0], [101.0, 100.0]])
    lengths = torch.tensor([[1, 2], [50, 60]])
    assert within_problem_rank_correlation(scores, lengths, torch.ones(2, 2, dtype=torch.bool)).tolist() == [1.0, -1.0]


def test_candidates_that_do_not_count_are_left_out() -> None:
    counted = torch.tensor([[True, False, True, True]])
    scores = torch.tensor([[1.0, math.nan, 2.0, -math.inf]])
    assert within_problem_rank_correlation(scores, torch.tensor([[2, 0, 3, 1]]), counted).item() == pytest.approx(1.0)


def test_equal_scores_or_too_few_candidates_have_no_correlation() -> None:
    lengths = torch.tensor([[1, 2, 3, 4]])
    assert within_problem_rank_correlation(torch.ones(1, 4), lengths, ALL).isnan().item()
    alone = torch.tensor([[True, False, False, False]])
    assert within_problem_rank_correlation(torch.rand(1, 4), lengths, alone).isnan().item()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"features_PN must have shape \[1, 4\], found \[1, 3\]"):
        within_problem_rank_correlation(torch.ones(1, 4), torch.ones(1, 3), ALL)
    with pytest.raises(ValueError, match="candidate 2 is nan"):
        within_problem_rank_correlation(torch.tensor([[1.0, 2.0, math.nan, 3.0]]), torch.ones(1, 4), ALL)
