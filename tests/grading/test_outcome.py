"""Outcome rewards for tasks that are not mathematics."""

import pytest

from erprm.grading import Grader, OutcomeGrader, outcome_rewards


def word_overlap(prediction: str, gold: str) -> float:
    """Token F1, the measure of extractive question answering (SQuAD): shared words against both lengths."""
    words, reference = prediction.lower().split(), gold.lower().split()
    shared = sum(min(words.count(word), reference.count(word)) for word in set(words))
    return 2 * shared / (len(words) + len(reference)) if shared else 0.0


class PassedTests:
    """A code task: the gold holds `input -> output` lines, the prediction is a table of the same form."""

    def __call__(self, prediction: str, gold: str) -> float:
        wanted = [line for line in gold.splitlines() if "->" in line]
        return sum(line in prediction.splitlines() for line in wanted) / len(wanted)


def test_a_function_grades_free_text() -> None:
    grader: OutcomeGrader = word_overlap
    pairs = [("the cat sat", "The cat sat"), ("a dog", "the cat"), ("the cat", "the black cat")]
    assert outcome_rewards(grader, pairs) == [1.0, 0.0, pytest.approx(4 / 5)]  # F1 = 2 * 2 / (2 + 3)


def test_an_object_grades_a_table_of_test_cases() -> None:
    assert outcome_rewards(PassedTests(), [("1 -> 2\n2 -> 5", "1 -> 2\n2 -> 4\n"), ("", "1 -> 1")]) == [0.5, 0.0]


def test_a_grader_of_answers_is_an_outcome_grader() -> None:
    grader: OutcomeGrader = Grader()
    assert grader("\\boxed{0.5}", "\\frac12") == 1.0
    assert outcome_rewards(grader, [("#### 5", "#### 5"), ("#### 6", "#### 5")]) == [1.0, 0.0]


@pytest.mark.parametrize("reward", [1.5, -0.1, float("nan")])
def test_a_reward_outside_the_unit_interval_is_refused(reward: float) -> None:
    with pytest.raises(ValueError, match=r"reward .* for pairs\[0\], expected a number in \[0, 1\]"):
        outcome_rewards(lambda prediction, gold: reward, [("a", "b")])
