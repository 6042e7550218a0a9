from itertools import combinations

import pytest

from erprm.data.sources import load_problems
from erprm.data.statistics.problem_text import fingerprint, normalized_problem


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3 + 4?", "what is 3+4 ?"),
        ("Janet’s ducks\nlay “16” eggs.", 'Janet\'s ducks lay "16" eggs'),
        ("a total of 1,000 dollars", "a total of 1000 dollars."),
        (r"Compute $\dfrac{1}{2}$.", r"Compute \frac12"),
        (r"$\left( x, \; y \right)$", "(x,y)"),
        (r"Find $x^{2}$ in \text{cm}.", "Find $x^2$ in cm."),
        ("ﬁnd ２ ㎝", "find 2 cm"),
    ],
)
def test_two_settings_of_a_problem_are_one(one: str, other: str) -> None:
    assert normalized_problem(one) == normalized_problem(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 + 4", "3 - 4"),
        ("1.5 km", "15 km"),
        ("x < 2", "x > 2"),
        ("x^2", "x_2"),
        (r"\frac12", r"\binom12"),
        ("2 apples", "3 apples"),
        ("What is -4?", "What is 4?"),
    ],
)
def test_problems_that_differ_in_a_sign_or_a_number_are_two(one: str, other: str) -> None:
    assert normalized_problem(one) != normalized_problem(other)


def test_problems_of_the_public_sets_stay_apart(shared_data: str) -> None:
    sets = {
        "gsm8k_train": load_problems("gsm8k", f"{shared_data}/gsm8k_train.jsonl"),
        "gsm8k_test": load_problems("gsm8k", f"{shared_data}/gsm8k_test.jsonl"),
        "math500": load_problems("math", f"{shared_data}/math500.jsonl"),
    }
    prints = {name: {fingerprint(normalized_problem(p.question)) for p in problems} for name, problems in sets.items()}
    # The three sets hold no problem twice as they are published, and share none.
    assert {name: len(found) for name, found in prints.items()} == {
        "gsm8k_train": 7473,
        "gsm8k_test": 1319,
        "math500": 500,
    }
    assert all(not prints[one] & prints[other] for one, other in combinations(prints, 2))


def test_half_a_surrogate_pair_has_a_fingerprint() -> None:
    assert 0 <= fingerprint("\ud800") < 2**64
