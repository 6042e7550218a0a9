import random
from collections import Counter

import pytest

from erprm.demo.dial.problems import (
    FACTS,
    DialProblem,
    DialStep,
    Mistakes,
    distinct_problems,
    random_problem,
    solution_text,
    solve,
    systematic_mistakes,
)
from erprm.demo.dial.tokenizer import STEP_FORMAT, VOCABULARY, make_tokenizer
from erprm.grading import grade
from erprm.steps import Solution, split_steps

PROBLEM = DialProblem(start=3, moves=(4, -8, 2), verbs=(0, 0, 1))


def test_the_worked_example_reads_as_documented() -> None:
    assert PROBLEM.question == "The dial is at 3. Push it 4. Pull it 8. Turn it 2. Where is it?"
    steps = solve(PROBLEM, random.Random(0))
    assert solution_text(steps) == "3 + 4 = 7\n7 - 8 = 9\n9 + 2 = 1\n#### 1"
    assert PROBLEM.answer == "1"


def test_right_solutions_are_right_and_a_step_stays_right_after_a_mistake() -> None:
    assert all(step.is_right for step in solve(PROBLEM, random.Random(0)))
    # The first fact is mistaken; the next steps go on from the wrong position, each right in itself.
    wrong_first = solve(PROBLEM, random.Random(0), Mistakes({(3, 4): 0}, systematic_rate=1.0))
    assert wrong_first == [DialStep(3, 4, 0), DialStep(0, -8, 2), DialStep(2, 2, 4)]
    assert [step.is_right for step in wrong_first] == [False, True, True]


def test_there_are_180_facts_and_a_share_of_them_is_mistaken_for_something_wrong() -> None:
    assert len(FACTS) == len(set(FACTS)) == 180
    mistaken = systematic_mistakes(random.Random(1), 0.1)
    assert len(mistaken) == 18
    assert all(result != (position + move) % 10 for (position, move), result in mistaken.items())


def test_slips_come_at_their_rate() -> None:
    rng = random.Random(2)
    steps = [step for _ in range(2000) for step in solve(random_problem(rng), rng, Mistakes(slip_rate=0.2))]
    # About 9,000 steps: the standard error of the share is 0.004.
    assert sum(not step.is_right for step in steps) / len(steps) == pytest.approx(0.2, abs=0.02)


def test_problems_are_distinct_and_the_seed_decides_them() -> None:
    problems = distinct_problems(random.Random(3), 500, excluded={PROBLEM.question})
    assert len({problem.question for problem in problems}) == 500
    assert problems == distinct_problems(random.Random(3), 500, excluded={PROBLEM.question})
    assert set(Counter(len(problem.moves) for problem in problems)) == {3, 4, 5, 6}


def test_the_package_splits_and_grades_the_worlds_solutions() -> None:
    text = solution_text(solve(PROBLEM, random.Random(0)))
    assert split_steps(text, "lines") == ["3 + 4 = 7", "7 - 8 = 9", "9 + 2 = 1\n#### 1"]
    assert grade(text, PROBLEM.answer, "gsm8k")
    assert not grade(text.replace("#### 1", "#### 2"), PROBLEM.answer, "gsm8k")


def test_the_tokenizer_gives_a_token_a_word_and_loses_nothing() -> None:
    tokenizer = make_tokenizer()
    text = PROBLEM.question + "\n" + solution_text(solve(PROBLEM, random.Random(0)))
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
    assert tokens[:6] == ["The", " dial", " is", " at", " 3", "."]
    assert tokens[-4:] == [" 1", "\n", "####", " 1"]
    assert "".join(tokens) == text


def test_the_tokenizer_is_lossless_on_its_words_in_any_order() -> None:
    tokenizer, rng = make_tokenizer(), random.Random(4)
    words = [word for word in VOCABULARY if not word.startswith("<")]
    for _ in range(200):
        text = "".join(rng.choices(words, k=30))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tag_and_labels_are_one_token_each() -> None:
    tokenizer = make_tokenizer()
    encoder = STEP_FORMAT.bind(tokenizer)
    encoded = encoder.encode(Solution(PROBLEM.question, ["3 + 4 = 7", "7 - 8 = 9"]))
    whole = PROBLEM.question + " Check it.\n3 + 4 = 7 ки\n7 - 8 = 9 ки"
    assert tokenizer.decode(encoded.input_ids) == whole
    assert encoded.input_ids == tokenizer.encode(whole)
