import itertools
import math

import pytest
import torch

from erprm.demo.exact import Bounds, exact_reward, success_probability
from erprm.engines.base import Sampling
from erprm.engines.transformers import TransformersEngine
from tests.tiny import make_llama, make_tokenizer

END, LENGTH, PROMPT = 1, 3, [2, 5]


def has_three(tokens: list[int]) -> bool:
    return 3 in tokens


def enumerated(policy: torch.nn.Module, vocabulary: int) -> float:
    """The probability of a completion with token 3, summed over all sequences of up to LENGTH tokens."""
    total = 0.0
    for length in range(LENGTH + 1):
        for tokens in itertools.product([t for t in range(vocabulary) if t != END], repeat=length):
            whole = [*PROMPT, *tokens, *([END] if length < LENGTH else [])]
            with torch.no_grad():
                log_probabilities = policy(torch.tensor([whole])).logits[0].double().log_softmax(-1)
            log_p = sum(log_probabilities[i - 1, whole[i]].item() for i in range(len(PROMPT), len(whole)))
            total += math.exp(log_p) * has_three(list(tokens))
    return total


def test_the_bounds_meet_at_the_sum_over_all_completions_when_nothing_is_cut_off() -> None:
    policy = make_llama(6, initializer_range=0.3)
    bounds = success_probability(policy, PROMPT, has_three, end_id=END, max_new_tokens=LENGTH, threshold=0.0)
    assert bounds.low == pytest.approx(enumerated(policy, 6), abs=1e-6)
    assert bounds.high == pytest.approx(bounds.low, abs=1e-9)


def test_the_bounds_enclose_the_value_when_branches_are_cut_off() -> None:
    policy = make_llama(6, initializer_range=0.3)
    bounds = success_probability(policy, PROMPT, has_three, end_id=END, max_new_tokens=LENGTH, threshold=0.02)
    assert bounds.low <= enumerated(policy, 6) <= bounds.high
    assert 0.0 < bounds.high - bounds.low < 0.5


def test_sampled_completions_succeed_at_the_exact_rate() -> None:
    tokenizer = make_tokenizer()
    policy = make_llama(len(tokenizer), initializer_range=0.3)
    prompt = tokenizer.encode("7 + 8")
    likely = int(policy(torch.tensor([prompt])).logits[0, -1].argmax())
    exact = success_probability(
        policy, prompt, lambda tokens: likely in tokens, end_id=END, max_new_tokens=1, threshold=0.0
    )
    engine = TransformersEngine.from_model(policy, tokenizer, batch_size=512)
    (completions,) = engine.generate([prompt], Sampling(n=4000, max_tokens=1))
    share = sum(likely in completion.token_ids for completion in completions) / 4000
    # Five standard errors of a share of 4,000: chance is as far off once in two million.
    assert share == pytest.approx(exact.low, abs=5 * math.sqrt(exact.low * (1 - exact.low) / 4000))


def test_rewards_of_bounds_by_hand() -> None:
    # p = 1/2 and eta = ln 3: ln(1/2 + 3/2) / ln 3 = ln 2 / ln 3.
    reward = exact_reward(Bounds(0.5, 1.0), math.log(3.0))
    assert reward.low == pytest.approx(math.log(2) / math.log(3))
    assert reward.high == pytest.approx(1.0)
