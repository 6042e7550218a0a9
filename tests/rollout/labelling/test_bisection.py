import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from erprm.data.labels import step_labels
from erprm.data.sources import Problem
from erprm.grading import Grader
from erprm.rollout import RolloutConfig
from erprm.rollout.labelling.label_problems import FirstErrorSearch, roll_out
from tests.engines.known_policy import KnownPolicy, Words
from tests.rollout.conftest import make_word_tokenizer

TOKENIZER = make_word_tokenizer()
PROBLEMS = [Problem(f"p/{n}", f"{' '.join(str(n))} =", "7", "test") for n in range(100, 130)]
STEPS = 10


@pytest.mark.parametrize("steps", range(2, 40))
def test_the_first_error_is_found_with_a_logarithmic_number_of_probes(steps: int) -> None:
    for first_error in range(1, steps + 1):
        search = FirstErrorSearch(steps)
        while (probe := search.probe) is not None:
            search.tell(probe, good=probe < first_error)
        assert search.bad == first_error
        assert len(search.asked) <= math.ceil(math.log2(steps))
        assert len(set(search.asked)) == len(search.asked)


def lines(written: Words) -> Mapping[str, float]:
    """Ten lines of which each is wrong (0) with probability 0.15; the answer is right if none is."""
    place, within = divmod(len(written), 3)
    if place < STEPS:
        return [{"so": 1.0}, {"0": 0.15, "1": 0.45, "2": 0.4}, {"\n": 1.0}][within]
    return [{"####": 1.0}, {"8" if "0" in written else "7": 1.0}, {"</s>": 1.0}][within]


def rolled_out(**changes: Any) -> Any:
    settings = {"solutions_per_problem": 4, "completions_per_step": 24, "max_tokens": 64, "grading": "gsm8k"}
    config = RolloutConfig("known", "nowhere", **{**settings, **changes})
    with Grader() as grader:
        return roll_out(PROBLEMS, KnownPolicy(lines, TOKENIZER), grader, config)


def test_labels_of_bisection_are_those_of_completing_every_step() -> None:
    records, summary = rolled_out(bisection=True)
    exhaustive, everything = rolled_out(reuse_solutions=False)
    alike = 0
    for record, whole in zip(records, exhaustive, strict=True):
        assert (record.steps, record.correct, record.seed) == (whole.steps, whole.correct, whole.seed)
        labels, from_all = step_labels(record.rewards, "hard"), step_labels(whole.rewards, "hard")
        # A prefix without a wrong line can still succeed, one with a wrong line cannot.
        exact = [float(not any("0" in step for step in record.steps[:count])) for count in range(1, STEPS + 1)]
        if not record.correct:
            first = labels.index(0.0)
            assert labels == [1.0] * first + [0.0] * (STEPS - first)
            # A label of 0 may come of 24 misses, a label of 1 is certain: errors are found too early, never too late.
            assert first <= exact.index(0.0)
            alike += labels == from_all
        else:
            assert labels == exact == [1.0] * STEPS
    wrong = [record for record in records if not record.correct]
    assert alike > 0.8 * len(wrong) > 60
    assert summary.prefixes <= len(wrong) * math.ceil(math.log2(STEPS))
    assert summary.completions == 24 * summary.prefixes < everything.completions / 2


def test_right_solutions_cost_nothing_and_wrong_ones_are_completed_where_asked() -> None:
    records, _ = rolled_out(bisection=True)
    for record in records:
        completed = [bool(rewards) for rewards in record.rewards[:-1]]
        assert sum(completed) <= math.ceil(math.log2(STEPS))
        assert any(completed) != record.correct
        assert '"bisection": true' in record.sampling


def test_a_right_solution_shows_that_its_prefixes_are_good() -> None:
    records, _ = rolled_out(bisection=True, completions_per_step=1, solutions_per_problem=8)
    right: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for record in records:
        if record.correct:
            right[record.problem_id] |= {tuple(record.steps[:count]) for count in range(1, STEPS)}
    shared = 0
    for record in records:
        for count, label in enumerate(step_labels(record.rewards, "hard")[:-1], 1):
            if tuple(record.steps[:count]) in right[record.problem_id]:
                shared += not record.correct
                assert label == 1.0
    assert shared > 10


def test_completions_sampled_otherwise_do_not_take_solutions_for_their_own() -> None:
    _, alone = rolled_out(bisection=True, completion_temperature=0.9)
    _, with_solutions = rolled_out(bisection=True)
    assert alone.prefixes > with_solutions.prefixes


def test_prefixes_that_several_solutions_ask_about_are_completed_once() -> None:
    # Of two lines, wrong ones only: each wrong solution asks about the one prefix it has.
    def two_lines(written: Words) -> Mapping[str, float]:
        place, within = divmod(len(written), 3)
        if place < 2:
            return [{"so": 1.0}, {"0": 1.0}, {"\n": 1.0}][within]
        return [{"####": 1.0}, {"8": 1.0}, {"</s>": 1.0}][within]

    config = RolloutConfig("known", "nowhere", completions_per_step=2, bisection=True, grading="gsm8k")
    with Grader() as grader:
        records, summary = roll_out(PROBLEMS[:3], KnownPolicy(two_lines, TOKENIZER), grader, config)
    assert summary.solutions == 12
    assert (summary.prefixes, summary.completions) == (3, 6)
    assert all(record.rewards == [[0.0, 0.0], [0.0]] for record in records)
