from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

from erprm.data.sources import Problem
from erprm.engines.base import Completion, decode_after
from erprm.rollout.labelling.prefixes import SampledSolution, build_record, cut_solution, distinct_prefixes
from erprm.steps import segment_steps
from tests.rollout.conftest import PreTrainedTokenizerFast, make_byte_tokenizer

BYTES: Any = make_byte_tokenizer()
PROMPT = BYTES.encode("Question: 3 + 4 + 8?\n")


def cut(text: str, style: str = "lines", end: str = "") -> SampledSolution:
    """The solution of a text, as if its tokens had been sampled after PROMPT."""
    completion = Completion(text, tuple(BYTES.encode(text + end)), "stop")
    solution = cut_solution(completion, 0, style, lambda ids: decode_after(BYTES, PROMPT, ids))
    assert solution is not None
    return solution


@pytest.mark.parametrize(
    ("style", "text", "prefix_texts"),
    [
        ("lines", "3 + 4 = 7\n7 + 8 = 15\n#### 15", ["3 + 4 = 7\n"]),
        ("lines", "a\nb\nc\n", ["a\n", "a\nb\n"]),
        ("paragraphs", "a\nb\n\nc → d\n\n15", ["a\nb\n\n", "a\nb\n\nc → d\n\n"]),
        (
            "math_shepherd",
            "Step 1: a ки\nStep 2: b ки\nStep 3: c ки",
            ["Step 1: a ки\n", "Step 1: a ки\nStep 2: b ки\n"],
        ),
        ("lines", "only one step", []),
    ],
)
def test_prefixes_end_exactly_where_steps_end(style: str, text: str, prefix_texts: list[str]) -> None:
    # No token of this tokenizer reaches over the ends in these texts, so the prefixes can be exact.
    solution = cut(text, style, end="<|end|>")
    assert [prefix.text for prefix in solution.prefixes] == prefix_texts
    assert [BYTES.decode(prefix.token_ids) for prefix in solution.prefixes] == prefix_texts


def test_a_prefix_leaves_out_a_space_that_belongs_to_the_next_steps_token(
    word_tokenizer: Any,
) -> None:
    # Words are joined by a space that comes with the later word: "\n" is the separator, "so" must not be touched.
    ids = tuple(word_tokenizer.convert_tokens_to_ids(["3", "\n", "so", "4", "\n", "5"]))
    completion = Completion(" 3 \n so 4 \n 5", ids, "length")
    solution = cut_solution(completion, 0, "lines", lambda ids: decode_after(word_tokenizer, [9], ids))
    assert solution is not None
    assert [prefix.token_ids for prefix in solution.prefixes] == [ids[:2], ids[:5]]
    assert [prefix.text for prefix in solution.prefixes] == [" 3 \n", " 3 \n so 4 \n"]


def test_a_token_across_two_steps_belongs_to_the_prefix_of_the_first() -> None:
    pieces = ["ab", "c\nd", "e"]
    completion = Completion("abc\nde", (0, 1, 2), "stop")
    solution = cut_solution(completion, 0, "lines", lambda ids: "".join(pieces[token] for token in ids))
    assert solution is not None
    assert solution.steps == ("abc", "de")
    assert [prefix.text for prefix in solution.prefixes] == ["abc\nd"]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=5).map("\n".join))
def test_prefixes_cover_their_step_and_reach_into_the_next_only_by_a_token_of_both(text: str) -> None:
    completion = Completion(text, tuple(BYTES.encode(text)), "stop")
    solution = cut_solution(completion, 0, "lines", lambda ids: decode_after(BYTES, PROMPT, ids))
    if solution is None:
        assert not text.strip()
        return
    starts = list(accumulate(solution.steps, lambda place, step: text.index(step, place) + len(step), initial=0))
    assert len(solution.prefixes) == len(solution.steps) - 1
    for prefix, stop, next_step in zip(solution.prefixes, starts[1:], solution.steps[1:], strict=False):
        count = len(prefix.token_ids)
        assert prefix.token_ids == completion.token_ids[:count]
        assert text.startswith(prefix.text)
        assert len(prefix.text) >= stop
        if len(prefix.text) > text.index(next_step, stop):
            assert not BYTES.decode(completion.token_ids[: count - 1]).startswith(text[:stop])


def test_a_blank_text_gives_no_solution() -> None:
    assert cut_solution(Completion(" \n ", (1,), "stop"), 0, "lines", lambda _: " \n ") is None


def test_a_prefix_shared_by_solutions_is_completed_once() -> None:
    solutions = [cut("a\nb\nc"), cut("a\nb\nd"), cut("a\nx\nc"), cut("a\nb\nc")]
    # Of each solution two prefixes; "a" is in all four, "a b" in three.
    assert [prefix.text for prefix in distinct_prefixes(solutions)] == ["a\n", "a\nb\n", "a\nx\n"]


@pytest.mark.parametrize(("reward", "correct"), [(1.0, True), (0.0, False), (0.75, True), (0.5, False)])
def test_record_holds_the_completions_of_each_step_and_the_outcome_of_the_last(reward: float, correct: bool) -> None:
    solution = cut("a\nb\nc")
    step_rewards = [[1.0, 0.0], [0.0, 0.0]]
    problem = Problem("p/1", "3 + 4?", "7", "test")
    record = build_record(problem, solution, reward, step_rewards, 0.75, "policy", "{}")
    assert record.steps == ["a", "b", "c"]
    assert record.rewards == [[1.0, 0.0], [0.0, 0.0], [reward]]
    assert record.correct is correct
    assert (record.problem_id, record.question, record.answer, record.source) == ("p/1", "3 + 4?", "7", "test")


# A SentencePiece tokenizer: a run of its byte tokens decodes to U+FFFD all through as long as a character in it is cut.


def make_sentencepiece_tokenizer() -> Any:
    """Words with their space, ``a`` and ``b``, and byte tokens for the rest, the line break included (as Llama 2's)."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁b"]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [("▁", "b")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


SENTENCEPIECE: Any = make_sentencepiece_tokenizer()


def cut_sentencepiece(text: str) -> SampledSolution:
    prompt = SENTENCEPIECE.encode("a")
    completion = Completion(text, tuple(SENTENCEPIECE.encode(text)), "stop")
    solution = cut_solution(completion, 0, "lines", lambda ids: decode_after(SENTENCEPIECE, prompt, ids))
    assert solution is not None
    return solution


@pytest.mark.parametrize(
    ("text", "prefix_texts"),
    [
        # The first byte of the arrow makes one broken run of bytes with the line break before it.
        ("a\n→b", ["a\n"]),
        ("→→→\nb", ["→→→\n"]),
        ("é\n→\n→", ["é\n", "é\n→\n"]),
        # The space is part of the token of "b", so it is left to the completion.
        ("a\n b\n b", ["a\n", "a\n b\n"]),
    ],
)
def test_a_character_of_several_byte_tokens_at_the_cut_is_neither_split_nor_mistaken(
    text: str, prefix_texts: list[str]
) -> None:
    solution = cut_sentencepiece(text)
    assert [prefix.text for prefix in solution.prefixes] == prefix_texts
    assert [SENTENCEPIECE.decode(prefix.token_ids) for prefix in solution.prefixes] == prefix_texts


@given(st.text(st.sampled_from("ab \n→é𝔘"), min_size=1, max_size=30))
def test_prefixes_of_byte_tokens_hold_the_step_and_the_line_break_after_it(text: str) -> None:
    if not text.strip():
        return
    split = segment_steps(text, "lines")
    solution = cut_sentencepiece(text)
    ids = SENTENCEPIECE.encode(text)
    for prefix, next_start in zip(solution.prefixes, split.ends, strict=False):
        assert list(prefix.token_ids) == ids[: len(prefix.token_ids)]
        assert prefix.text == text[: len(prefix.text)]
        # All there is before the next step, but for a space that its first token holds.
        assert text[len(prefix.text) : next_start] in ("", " ")


def test_a_prefix_ends_before_a_character_that_its_last_token_only_begins() -> None:
    # The second token holds the line break and the first byte of the arrow.
    pieces = [b"a", b"\n\xe2", b"\x86\x92", b"b"]
    completion = Completion("a\n→b", (0, 1, 2, 3), "stop")
    solution = cut_solution(
        completion, 0, "regex:(?=→)", lambda ids: b"".join(pieces[token] for token in ids).decode(errors="replace")
    )
    assert solution is not None
    assert solution.steps == ("a", "→b")
    (prefix,) = solution.prefixes
    # The step is whole without that token, so all of it is left to the completion.
    assert (prefix.token_ids, prefix.text) == ((0,), "a")


def test_a_step_end_within_a_token_takes_the_token_and_not_the_broken_character() -> None:
    pieces = [b"a", b"b\n\xe2", b"\x86\x92"]
    completion = Completion("ab\n→", (0, 1, 2), "stop")
    solution = cut_solution(
        completion, 0, "lines", lambda ids: b"".join(pieces[token] for token in ids).decode(errors="replace")
    )
    assert solution is not None
    (prefix,) = solution.prefixes
    assert prefix.token_ids == (0, 1)
    # The completion is decoded as what comes after these tokens, and brings the whole arrow.
    assert prefix.text == "ab\n"
