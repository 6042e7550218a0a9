"""Solutions of every kind are split into the steps they were written from."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erprm.steps import STEP_STYLES, segment_steps, split_steps
from tests.steps.written_solutions import KINDS

# On Python 3.10 there is no nupunkt.
pytest.importorskip("nupunkt")

UNDECIDABLE = {"numbered": 3, "numbered_paragraphs": 15, "reasoning": 3}
"""Solutions of 300 that may be split otherwise.

Two numbered lines and more lines below may be a list and what follows it, as well as two steps.
"""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_auto_finds_the_steps_that_a_solution_was_written_from(kind: str) -> None:
    wrong = []
    for seed in range(300):
        written = KINDS[kind](Random(seed))
        if split_steps(written.text, "auto") != written.steps:
            wrong.append(written)
    assert len(wrong) <= UNDECIDABLE.get(kind, 0), wrong[0]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(UNDECIDABLE)))
@given(random=st.randoms(use_true_random=False))
def test_no_solution_of_a_kind_is_found_that_auto_splits_otherwise(kind: str, random: Random) -> None:
    written = KINDS[kind](random)
    assert split_steps(written.text, "auto") == written.steps


@pytest.mark.parametrize("style", sorted(STEP_STYLES))
@given(random=st.randoms(use_true_random=False), kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_a_solution_that_is_cut_anywhere_is_split_without_loss(
    style: str, kind: str, random: Random, data: st.DataObject
) -> None:
    whole = KINDS[kind](random).text
    text = whole[: data.draw(st.integers(0, len(whole)))]
    split = segment_steps(text, style)
    between = iter(split.separators)
    assert next(between) + "".join(step + next(between) for step in split.steps) == text
    assert bool(split.steps) == bool(text.strip())
    assert all(step.strip() for step in split.steps)


def test_the_shared_cases_have_the_number_of_steps_that_they_state(shared_data: Path) -> None:
    rows = (shared_data / "split_cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows
    for case in map(json.loads, rows):
        assert len(split_steps(case["text"], case["style"])) == case["steps"], case["fault"]
