import itertools
from typing import Any

import pytest

from erprm.engines.base import Sampling, decode_after, encode_prompt, request_seed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, r"n is 0; it must be at least 1"),
        ({"temperature": -0.5}, r"temperature is -0\.5"),
        ({"temperature": float("nan")}, r"temperature is nan"),
        ({"temperature": 0.0, "n": 4}, r"temperature is 0 with n=4: greedy decoding gives 4 equal completions"),
        ({"top_p": 0.0}, r"top_p is 0\.0; it must be in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p is 1\.5"),
        ({"max_tokens": 0}, r"max_tokens is 0"),
        ({"stop": ("",)}, r"stop is \(''?,\)"),
        ({"seed": -1}, r"seed is -1"),
    ],
)
def test_sampling_refuses_what_cannot_be_sampled(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]


def test_greedy_decoding_of_one_completion_is_accepted() -> None:
    assert Sampling(n=1, temperature=0.0).temperature == 0.0


def test_request_seeds_differ_in_run_seed_prompt_and_k() -> None:
    prompts = [[1], [2], [1, 2], [2, 1], [1, 2, 0], []]
    seeds = [request_seed(run, prompt, k) for run, prompt, k in itertools.product((0, 1), prompts, (0, 1, 2))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_text_prompt_gets_the_special_tokens_and_token_ids_do_not(word_tokenizer: Any) -> None:
    words = word_tokenizer.convert_tokens_to_ids(["3", "+", "4"])
    assert encode_prompt(word_tokenizer, "3 + 4") == [word_tokenizer.bos_token_id, *words]
    assert encode_prompt(word_tokenizer, words) == words


def test_text_after_a_prompt_keeps_the_space_before_it(word_tokenizer: Any) -> None:
    ids = word_tokenizer.convert_tokens_to_ids(["so", "3", "+", "4", "</s>"])
    assert decode_after(word_tokenizer, ids[:2], ids[2:]) == " + 4"
    assert decode_after(word_tokenizer, [], ids) == "so 3 + 4"


def test_text_after_a_prompt_that_ends_within_a_character_starts_with_that_character(
    byte_tokenizer: Any,
) -> None:
    ids = byte_tokenizer.encode("7 → 8", add_special_tokens=False)
    within = next(count for count in range(len(ids)) if byte_tokenizer.decode(ids[:count]).endswith("\ufffd"))
    assert decode_after(byte_tokenizer, ids[:within], ids[within:]) == "→ 8"
