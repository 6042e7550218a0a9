"""Texts of every kind are judged as they were written, whole and cut off at any place."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.grading import Grader, extract_answer
from tests.grading.written_answers import KINDS


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, timeout_s=60.0) as shared:
        yield shared


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_right_golds_are_accepted_and_wrong_ones_refused(grader: Grader, kind: str) -> None:
    for seed in range(40):
        written = KINDS[kind](Random(seed))
        golds = [*written.right, *written.wrong]
        verdicts = grader.grade_batch([(written.text, gold) for gold in golds], written.kind)
        assert verdicts == [gold in written.right for gold in golds], (written, verdicts)


@settings(max_examples=40)
@given(kind=st.sampled_from(sorted(KINDS)), random=st.randoms(use_true_random=False), data=st.data())
def test_a_text_that_is_known_to_be_cut_off_never_has_a_wrong_answer(
    grader: Grader, kind: str, random: Random, data: st.DataObject
) -> None:
    written = KINDS[kind](random)
    cut = written.text[: data.draw(st.integers(0, len(written.text)))]
    pairs = [(cut, gold) for gold in written.wrong]
    assert not any(grader.grade_batch(pairs, written.kind, truncated=[True] * len(pairs))), cut


def test_a_long_run_of_number_words_in_a_box_is_left_unread() -> None:
    assert extract_answer("\\boxed{" + "five " * 200_000 + "}", "gsm8k") is None
