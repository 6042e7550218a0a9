"""Log-probabilities and the KL divergence against an enumeration of everything that a tiny policy can write."""

import itertools
import math
from typing import Any

import pytest
import torch

from erprm.data.policy import PolicySample
from erprm.engines.transformers import TransformersEngine
from erprm.raft.evaluation import EvaluatedProblem, Evaluation, best_round, evaluate, variety_table
from erprm.raft.log_probs import mean_of_problems, solution_log_probs
from erprm.rollout import Sampling
from tests.rollout.conftest import WORDS, make_policy, make_word_tokenizer

END, LONGEST = 2, 2
PROMPT = [1, 5, 6]


def all_completions(vocabulary: int) -> list[list[int]]:
    """Everything that ends, or has as many tokens as it may."""
    others = [token for token in range(vocabulary) if token != END]
    return [[END], *([*first, last] for first in itertools.product(others, repeat=1) for last in range(vocabulary))]


def log_prob(policy: Any, completion: list[int], temperature: float) -> float:
    total = 0.0
    for place, token in enumerate(completion):
        with torch.no_grad():
            logits = policy(torch.tensor([PROMPT + completion[:place]])).logits[0, -1].double()
        total += (logits / temperature).log_softmax(-1)[token].item()
    return total


@pytest.fixture(scope="module")
def policies() -> tuple[Any, Any]:
    return make_policy(len(WORDS), seed=0), make_policy(len(WORDS), seed=3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_log_probability_of_a_completion_is_the_sum_over_its_tokens(policies: Any, temperature: float) -> None:
    completions = [[END], [7, END], [4, 9], [11, 3, 8, END]]
    samples = [PolicySample([*PROMPT, *ids], len(PROMPT), "") for ids in completions]
    expected = [log_prob(policies[0], ids, temperature) for ids in completions]
    for batch_tokens in (4, 8, 4096):
        found = solution_log_probs(policies[0], samples, temperature, batch_tokens)
        assert found == pytest.approx(expected, abs=1e-5)


def test_the_probabilities_of_everything_that_can_be_written_sum_to_one(policies: Any) -> None:
    samples = [PolicySample([*PROMPT, *ids], len(PROMPT), "") for ids in all_completions(len(WORDS))]
    assert math.fsum(map(math.exp, solution_log_probs(policies[0], samples))) == pytest.approx(1.0, abs=1e-5)


def test_the_estimate_of_the_kl_divergence_is_that_of_enumeration(policies: Any) -> None:
    now, initial = policies
    completions = all_completions(len(WORDS))
    exact = math.fsum(
        math.exp(one) * (one - other)
        for one, other in ((log_prob(now, ids, 1.0), log_prob(initial, ids, 1.0)) for ids in completions)
    )
    engine = TransformersEngine.from_model(now, make_word_tokenizer(), batch_size=500)
    ratios = []
    for seed in range(50):  # as many problems, of 100 solutions each
        (sampled,) = engine.generate([PROMPT], Sampling(100, max_tokens=LONGEST, seed=seed))
        samples = [PolicySample([*PROMPT, *each.token_ids], len(PROMPT), "") for each in sampled]
        both = zip(solution_log_probs(now, samples), solution_log_probs(initial, samples), strict=True)
        ratios.append([one - other for one, other in both])
    mean, error = mean_of_problems(ratios)
    assert exact > 0.1
    assert 0.0 < error < 0.05 * exact
    # Chance is as far off once in four million (Student's t of 49 degrees).
    assert mean == pytest.approx(exact, abs=6 * error)


def test_the_standard_error_is_that_of_a_mean_of_problems() -> None:
    # Means of the problems 2 and 4, whose standard deviation is sqrt(2).
    assert mean_of_problems([[1.0, 3.0], [4.0, 4.0]]) == pytest.approx((3.0, 1.0))
    mean, error = mean_of_problems([[1.0, 3.0]])
    assert mean == 2.0
    assert math.isnan(error)


def evaluated(greedy: bool, right: int) -> Evaluation:
    correct = [place < right for place in range(4)]
    return evaluate(0, [EvaluatedProblem("a", greedy, correct, None, None, [-1.0] * 4, [2] * 4, 1, 1)], cut_off=0.0)


def test_the_best_round_is_the_first_of_the_most_accurate() -> None:
    rounds = [evaluated(False, 1), evaluated(False, 3), evaluated(True, 2), evaluated(True, 3)]
    assert best_round(rounds, "pass_at_1") == 1
    assert best_round(rounds, "greedy") == 2
    assert best_round(rounds[:1], "greedy") == 0


def test_an_evaluation_is_means_over_problems() -> None:
    problems = [
        EvaluatedProblem("a", True, [True, False], [0.9, 0.7], [1.0, 3.0], [-1.0, -2.0], [3, 5], 2, 2),
        EvaluatedProblem("b", False, [False, False], [0.2, 0.4], [4.0, 4.0], [-0.5, -0.5], [1, 1], 1, 1),
    ]
    found = evaluate(2, problems, cut_off=0.25)
    assert (found.round, found.problems, found.samples, found.cut_off) == (2, 2, 2, 0.25)
    assert (found.greedy.mean, found.pass_at_1.mean) == (0.5, 0.25)
    assert found.kl == 3.0
    assert found.score is not None
    assert found.gap is not None
    assert found.score.mean == pytest.approx(0.55)
    # (0.8 - 0.5 + 0.3 - 0) / 2; two problems, so the interval reaches from the one to the other.
    assert (found.gap.mean, found.gap.low, found.gap.high) == pytest.approx((0.3, 0.3, 0.3))
    assert (found.pass_at_1.low, found.pass_at_1.high) == (0.0, 0.5)
    # 4 nats over 10 tokens; two of two solutions and one of two.
    assert (found.entropy, found.distinct_solutions, found.distinct_answers) == pytest.approx((0.4, 0.75, 0.75))
    assert variety_table([found]).rows == [["2", "0.400", "75.0", "75.0", "25.0"]]
    earlier = found.as_json()
    for name in ("entropy", "distinct_solutions", "distinct_answers"):
        del earlier[name]
    assert variety_table([type(found).from_json(earlier)]).rows == [["2", "-", "-", "-", "25.0"]]
    assert type(found).from_json(found.as_json()) == found
