import itertools
import math
from typing import Any

import pytest
import torch
import transformers

from erprm.demo.exact import Bounds, entropy_regularized_value, success_probability
from erprm.demo.tokenizer import make_tokenizer
from erprm.rollout.engine import Sampling
from erprm.rollout.transformers_engine import TransformersEngine
from tests.tiny import make_llama

LlamaConfig: Any = transformers.LlamaConfig
LlamaForCausalLM: Any = transformers.LlamaForCausalLM

START, RIGHT, WRONG, END = range(4)
# After the start: right 0.6, wrong 0.3, once more the start 0.1. Everything else ends at once.
CHAIN = torch.tensor([[0.1, 0.6, 0.3, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])


def markov_chain(table_VV: torch.Tensor) -> Any:
    """A Llama whose next token depends on the last one alone, with the probabilities of the table."""
    size = len(table_VV)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=size,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        # A one-hot embedding has the root mean square sqrt(1 / size), by which the last norm divides.
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(table_VV.clamp(min=1e-30).log().T / math.sqrt(size))
    return model


def ends_right(token_ids: list[int]) -> bool:
    return token_ids[-1:] == [RIGHT]


def test_the_value_of_a_chain_worked_out_by_hand_lies_between_the_bounds() -> None:
    # 0.6 + 0.1 * 0.6 + 0.01 * 0.6 + ... = 2/3
    bounds = success_probability(markov_chain(CHAIN), [START], ends_right, {END}, max_tokens=50, min_probability=1e-6)
    assert bounds.lower <= 2 / 3 <= bounds.upper
    assert bounds.lower == pytest.approx(2 / 3, abs=1e-5)
    assert bounds.width < 1e-5


@pytest.mark.parametrize(
    ("min_probability", "lower", "upper"),
    [
        # Only "right" is followed: 0.3 + 0.1 given up.
        (0.5, 0.6, 1.0),
        # "right" and "wrong": 0.1 given up.
        (0.2, 0.6, 0.7),
        # Also "start right" (0.06), then 0.03 and 0.01 are given up.
        (0.05, 0.66, 0.7),
        (1.0, 0.0, 1.0),
    ],
)
def test_what_is_given_up_is_the_distance_of_the_bounds(min_probability: float, lower: float, upper: float) -> None:
    bounds = success_probability(
        markov_chain(CHAIN), [START], ends_right, {END}, max_tokens=50, min_probability=min_probability
    )
    assert bounds.lower == pytest.approx(lower, abs=1e-6)
    assert bounds.upper == pytest.approx(upper, abs=1e-6)


def test_a_completion_cut_off_is_judged_as_it_stands() -> None:
    def is_cut_off_at_start(token_ids: list[int]) -> bool:
        return token_ids == [START, START]

    bounds = success_probability(
        markov_chain(CHAIN), [START], is_cut_off_at_start, {END}, max_tokens=2, min_probability=0.0
    )
    assert bounds.lower == pytest.approx(0.01, abs=1e-6)
    assert bounds.upper == pytest.approx(0.01, abs=1e-6)


def test_the_end_token_is_not_shown_to_the_judge() -> None:
    seen: list[list[int]] = []

    def remember(token_ids: list[int]) -> bool:
        seen.append(token_ids)
        return False

    success_probability(markov_chain(CHAIN), [START], remember, {END}, max_tokens=5, min_probability=0.05)
    assert sorted(seen) == [[START, RIGHT], [RIGHT], [WRONG]]


def test_the_cache_changes_nothing_about_the_probabilities_of_a_llama() -> None:
    model = make_llama(6, seed=3, eos_token_id=5)
    prompt, end, length = [0, 4, 2], 5, 4

    def is_odd_sum(token_ids: list[int]) -> bool:
        return sum(token_ids) % 2 == 1

    expected = 0.0
    for tokens in itertools.product(range(6), repeat=length):
        ended_at = tokens.index(end) if end in tokens else length
        # A completion ends with its first end token: the same one, written out further, is skipped.
        if any(token != 0 for token in tokens[ended_at + 1 :]):
            continue
        sampled = tokens[: ended_at + 1]
        with torch.inference_mode():
            logits_TV = model(torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1].double()
        logs_TV = logits_TV.log_softmax(-1)
        if is_odd_sum(list(tokens[:ended_at])):
            expected += logs_TV[torch.arange(len(sampled)), list(sampled)].sum().exp().item()

    bounds = success_probability(model, prompt, is_odd_sum, {end}, max_tokens=length, min_probability=0.0)
    assert 0.1 < expected < 0.9
    assert bounds.lower == pytest.approx(expected, abs=1e-6)
    assert bounds.upper == pytest.approx(expected, abs=1e-6)


def test_samples_of_the_engine_agree_with_the_bounds() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer), seed=4, eos_token_id=tokenizer.eos_token_id)
    prompt = tokenizer("The dial is at 3.")["input_ids"]

    def is_short_or_high(token_ids: list[int]) -> bool:
        return len(token_ids) < 2 or sum(token_ids) > len(tokenizer)

    bounds = success_probability(
        model, prompt, is_short_or_high, {tokenizer.eos_token_id}, max_tokens=2, min_probability=0.0
    )
    count = 4000
    engine = TransformersEngine.from_model(model, tokenizer, batch_size=1000)
    [completions] = engine.generate([prompt], Sampling(count, max_tokens=2, seed=1))
    sampled = [[token for token in c.token_ids if token != tokenizer.eos_token_id] for c in completions]
    share = sum(map(is_short_or_high, sampled)) / count
    assert 0.1 < bounds.lower < 0.9
    # Four standard errors of a binomial share: passes for any but one seed in 16,000 or so.
    assert share == pytest.approx(bounds.lower, abs=4 * math.sqrt(bounds.lower * (1 - bounds.lower) / count))


def test_bounds_of_the_reward_are_those_of_the_probability_through_the_formula() -> None:
    value = entropy_regularized_value(Bounds(0.25, 0.5), eta=2.0)
    # ln(3/4 + e^2/4) / 2 and ln(1/2 + e^2/2) / 2
    assert value.lower == pytest.approx(math.log(0.75 + 0.25 * math.e**2) / 2, abs=1e-12)
    assert value.upper == pytest.approx(math.log(0.5 + 0.5 * math.e**2) / 2, abs=1e-12)
    assert entropy_regularized_value(Bounds(0.25, 0.5), eta=0.0) == Bounds(0.25, 0.5)
    assert entropy_regularized_value(Bounds(0.0, 0.5), eta=math.inf) == Bounds(0.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": []}, "prompt_ids is empty"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"min_probability": 1.5}, r"min_probability is 1.5; it must be in \[0, 1\]"),
        ({"min_probability": math.nan}, "min_probability is nan"),
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"prompt_ids": [START], "max_tokens": 5, "min_probability": 0.1, **changes}
    with pytest.raises(ValueError, match=message):
        success_probability(markov_chain(CHAIN), is_success=ends_right, end_ids={END}, **arguments)
