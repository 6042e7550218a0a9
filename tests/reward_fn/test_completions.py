from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from erprm.reward_fn.completions import token_offsets, token_spans
from erprm.steps import segment_steps
from tests.steps.real_tokenizers import mistral_tokenizer
from tests.tiny import make_tokenizer

MISTRAL = cache(mistral_tokenizer)
TEXTS = [
    "Step 1: 3 + 4 = 7.\n\nStep 2: The answer is: 7",
    "  3 → é\n日本 7\n \n🙂🙂 = 2 ",
    "7",
    "\n",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [make_tokenizer, MISTRAL], ids=["bytes", "SentencePiece"])
def test_tokens_stand_where_their_characters_do(make: Any, text: str) -> None:
    tokenizer = make()
    ids = tokenizer.encode(text, add_special_tokens=False)
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    offsets = token_offsets([*ids, tokenizer.eos_token_id], decoded, tokenizer)
    assert len(offsets) == len(ids) + 1
    assert offsets[-1] == (len(decoded), len(decoded))
    # Every character is in a token, and what tokens share is one character.
    assert {c for start, stop in offsets for c in range(start, stop)} == set(range(len(decoded)))
    for before, after in pairwise(offsets):
        assert before == after or before[1] == after[0]


def test_tokens_that_the_tokenizer_would_not_make_of_the_text_are_placed_too() -> None:
    tokenizer = make_tokenizer()
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "Step"]
    assert letters != tokenizer.encode("Step", add_special_tokens=False)
    assert token_offsets(letters, "Step", tokenizer) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_white_space_that_was_stripped_from_the_text_is_before_its_first_character() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer.encode(" Step", add_special_tokens=False)
    assert token_offsets(ids, "Step", tokenizer)[0][0] == 0
    assert token_offsets(ids, "Step", tokenizer)[-1] == (0, 4)


def test_a_completion_cut_off_within_a_character_is_placed() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer.encode("7 é", add_special_tokens=False)[:-1]
    offsets = token_offsets(ids, tokenizer.decode(ids), tokenizer)
    assert (offsets[0], offsets[-1][0]) == ((0, 1), 2)


def test_tokens_of_another_text_are_refused() -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(ValueError, match="the tokens are those of 'Step 2', not of the completion 'Step 1'"):
        token_offsets(tokenizer.encode("Step 2", add_special_tokens=False), "Step 1", tokenizer)


def test_a_token_belongs_to_the_first_step_it_has_a_character_of() -> None:
    #            "ab\ncd" in tokens  a | b\n | c | d
    assert token_spans([(0, 2), (3, 5)], [(0, 1), (1, 3), (3, 4), (4, 5)]) == [(0, 2), (2, 4)]
    #            b\nc | d: the token of both steps is the first's
    assert token_spans([(0, 2), (3, 5)], [(0, 1), (1, 4), (4, 5)]) == [(0, 2), (2, 3)]
    #            a token that is line break alone is no step's
    assert token_spans([(0, 2), (3, 5)], [(0, 2), (2, 3), (3, 5)]) == [(0, 1), (2, 3)]
    #            everything in one token
    assert token_spans([(0, 2), (3, 5)], [(0, 5), (0, 0)]) == [(0, 1), (1, 1)]


@pytest.mark.parametrize("make", [make_tokenizer, MISTRAL], ids=["bytes", "SentencePiece"])
def test_the_tokens_of_a_step_decode_to_it(make: Any) -> None:
    tokenizer = make()
    text = "First, 3 + 4 = 7.\n\n日本 🙂 7 + 1 = 8.\n#### 8"
    ids = tokenizer.encode(text, add_special_tokens=False)
    split = segment_steps(text, "lines")
    spans = token_spans(split.spans, token_offsets(ids, text, tokenizer))
    assert [tokenizer.decode(ids[start:stop]).strip() for start, stop in spans] == list(split.steps)
