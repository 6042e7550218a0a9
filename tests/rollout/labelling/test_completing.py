import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem
from erprm.demo.exact import success_probability
from erprm.engines.base import Completion, decode_after, encode_prompt
from erprm.engines.transformers import TransformersEngine
from erprm.grading import Grader, grade
from erprm.rollout import RolloutConfig
from erprm.rollout.labelling.completing import Allocation, Draw
from erprm.rollout.labelling.label_problems import roll_out
from erprm.rollout.labelling.prefixes import Prefix, cut_solution, would_be_cut_at
from tests.engines.known_policy import KnownPolicy, Words
from tests.rollout.conftest import WORDS, make_taught_policy, make_word_tokenizer

# How a completion may go on: whether it gives the prefix, its reward, its probability.
SELECTED = [(True, 0.0, 0.10), (True, 0.6, 0.15), (True, 1.0, 0.35), (False, 0.0, 0.05), (False, 1.0, 0.35)]
ALL_ALIKE = [(True, 0.0, 0.7), (True, 1.0, 0.3)]
Chances = list[tuple[bool, float, float]]


def labels(
    allocation: Allocation, chances: Chances, solutions: tuple[float, ...], draws: tuple[Draw, ...] = ()
) -> Iterator[tuple[float, list[float], int]]:
    """Everything that may come of a prefix: its probability, the rewards stored, and how many draws they took."""
    wanted = allocation.wanted(solutions, draws)
    if not wanted:
        yield 1.0, allocation.rewards(solutions, draws), len(draws)
        return
    for drawn in product(chances, repeat=wanted):
        probability = math.prod(chance for _, _, chance in drawn)
        new = tuple(Draw(reward, gives_prefix) for gives_prefix, reward, _ in drawn)
        for rest, rewards, count in labels(allocation, chances, solutions, (*draws, *new)):
            yield probability * rest, rewards, count


def expected_label(allocation: Allocation, chances: Chances, solutions: int, f: Callable[[float], float]) -> float:
    """The mean of what is stored, expected over solutions, which all gave the prefix, and draws."""
    giving = [(reward, chance) for gives_prefix, reward, chance in chances if gives_prefix]
    total = sum(chance for _, chance in giving)
    expected = 0.0
    for given in product(giving, repeat=solutions):
        probability = math.prod(chance / total for _, chance in given)
        outcomes = tuple(reward for reward, _ in given)
        for rest, rewards, _ in labels(allocation, chances, outcomes):
            expected += probability * rest * sum(map(f, rewards)) / len(rewards)
    return expected


@pytest.mark.parametrize("chances", [SELECTED, ALL_ALIKE])
@pytest.mark.parametrize("eta", [0.0, 2.0, -3.0])
@pytest.mark.parametrize(
    ("most", "enough", "solutions"),
    [(4, None, 0), (4, None, 1), (4, None, 2), (5, 2, 0), (5, 3, 0), (5, 3, 1), (6, 4, 2), (4, 4, 1)],
)
def test_the_mean_of_what_is_stored_is_the_exact_mean(
    chances: Chances, eta: float, most: int, enough: int | None, solutions: int
) -> None:
    def f(reward: float) -> float:
        return math.exp(eta * reward) if eta else reward

    allocation = Allocation(most, enough, threshold=0.5)
    assert solutions <= allocation.most_solutions
    exact = sum(chance * f(reward) for _, reward, chance in chances)
    assert expected_label(allocation, chances, solutions, f) == pytest.approx(exact, rel=1e-12)


def test_counting_solutions_always_would_be_biased() -> None:
    # Four draws with mean 0.79, or two with it and two from those that give the prefix: (0.09 + 0.35) / 0.6 = 0.7333.
    class Naive(Allocation):
        def rewards(self, solutions: object, draws: object) -> list[float]:
            return [*solutions, *(draw.reward for draw in draws)]  # type: ignore[misc, attr-defined]

    naive = expected_label(Naive(4, None, 0.5), SELECTED, 2, float)
    assert naive == pytest.approx((0.79 * 2 + 0.44 / 0.6 * 2) / 4)


def test_the_plain_mean_after_enough_successes_would_be_biased() -> None:
    # At most two draws, ended by a first success: p + (1 - p) p / 2 = 0.3 + 0.105, not 0.3. With two successes of at
    # most three draws: p^2 * 1 + 2 p^2 (1 - p) * 2/3 + 3 p (1-p)^2 / 3 = 0.09 + 0.084 + 0.147 = 0.321.
    plain = 0.0
    for probability, rewards, count in labels(Allocation(3, 2, 0.5), ALL_ALIKE, ()):
        successes = sum(rewards) + (len(rewards) < count)
        plain += probability * successes / count
    assert plain == pytest.approx(0.321)


def test_draws_end_with_enough_successes_or_at_the_most() -> None:
    for _, rewards, count in labels(Allocation(6, 3, 0.5), ALL_ALIKE, ()):
        ended_by_success = len(rewards) < count
        assert sum(rewards) == 2 if ended_by_success else count == 6
        assert sum(rewards) < 3
    # Nothing is drawn in vain: a batch ends at the latest with the success, or the completion, that ends the prefix.
    assert Allocation(6, 3, 0.5).wanted([], []) == 3
    assert Allocation(6, 3, 0.5).wanted([1.0], [Draw(1.0, True), Draw(0.0, True)]) == 1
    assert Allocation(6, 3, 0.5).wanted([], [Draw(0.0, True)] * 5) == 1


def test_solutions_are_left_out_if_one_completion_would_not_have_given_the_prefix() -> None:
    giving, other = Draw(0.0, True), Draw(1.0, False)
    assert Allocation(4, None, 0.5).rewards([1.0, 0.0], [giving, giving]) == [1.0, 0.0, 0.0, 0.0]
    assert Allocation(4, None, 0.5).rewards([1.0, 0.0], [giving, other]) == [0.0, 1.0]
    # Ended by a success that did not give the prefix: it is left out itself, and so are the solutions.
    assert Allocation(8, 4, 0.5).rewards([1.0, 1.0], [giving, Draw(1.0, True), other]) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("most", "enough", "solutions"), [(1, None, 0), (8, None, 4), (16, 2, 0), (16, 3, 1), (16, 8, 4)]
)
def test_a_completion_is_left_whatever_happens(most: int, enough: int | None, solutions: int) -> None:
    allocation = Allocation(most, enough, 0.5)
    assert allocation.most_solutions == solutions
    # The fewest draws: solutions and completions all right, but none as the solutions were selected.
    given, draws = [1.0] * solutions, list[Draw]()
    while wanted := allocation.wanted(given, draws):
        draws += [Draw(1.0, False)] * wanted
    assert allocation.rewards(given, draws)


TOKENIZER = make_word_tokenizer()
PROBLEMS = [Problem(f"p/{n}", f"{' '.join(str(n))} =", "7", "test") for n in range(1000, 2500)]


def make_config(**changes: Any) -> RolloutConfig:
    settings = {"solutions_per_problem": 2, "completions_per_step": 4, "max_tokens": 40, "grading": "gsm8k", "seed": 5}
    return RolloutConfig("known", "nowhere", **{**settings, **changes})


def rolled_out(policy: Any, config: RolloutConfig, problems: Any = PROBLEMS) -> tuple[list[RolloutRecord], Any]:
    engine = KnownPolicy(policy, TOKENIZER) if callable(policy) else policy
    with Grader() as grader:
        return roll_out(problems, engine, grader, config)


def selective(written: Words) -> Mapping[str, float]:
    """After the first line, half the solutions answer at once, mostly rightly; the others write a line more and fail.

    The first line is followed by another step, and so is a prefix, only in those others.
    """
    if len(written) < 3:
        return [{"so": 1.0}, {"1": 0.5, "2": 0.5}, {"\n": 1.0}][len(written)]
    if written[-1] == "####":
        return {"7": 0.2, "8": 0.8} if "then" in written else {"7": 0.9, "8": 0.1}
    if written[-1] == "\n":
        return {"####": 1.0} if "then" in written else {"####": 0.5, "then": 0.5}
    return {"then": {"1": 1.0}, "1": {"\n": 1.0}}.get(written[-1], {"</s>": 1.0})


# 0.5 * 0.9 + 0.5 * 0.2
VALUE_AFTER_FIRST_LINE = 0.55


def soft_labels(records: list[RolloutRecord]) -> list[float]:
    """Of the first steps, each problem's distinct prefixes counted once."""
    distinct = {(r.problem_id, r.steps[0]): r.rewards[0] for r in records if len(r.steps) > 1}
    return [sum(rewards) / len(rewards) for rewards in distinct.values()]


@pytest.mark.parametrize("changes", [{}, {"enough_successes": 3}, {"reuse_solutions": False, "enough_successes": 2}])
def test_labels_are_unbiased_where_the_solutions_of_a_prefix_are_a_selection(changes: dict[str, Any]) -> None:
    records, summary = rolled_out(selective, make_config(**changes))
    labels = soft_labels(records)
    assert len(labels) > 1000
    # Variance of a label: at most 1/4 (two draws may be left); four standard errors of the mean.
    assert sum(labels) / len(labels) == pytest.approx(VALUE_AFTER_FIRST_LINE, abs=4 * 0.5 / len(labels) ** 0.5)
    assert summary.completions < 4 * summary.prefixes


def test_solutions_stand_only_where_every_completion_could_have_been_one_of_them() -> None:
    records, _ = rolled_out(selective, make_config(solutions_per_problem=1))
    counts = Counter(len(record.rewards[0]) for record in records if len(record.steps) > 1)
    # Three completions are sampled; one in two goes on with a step, so in one of eight prefixes all do.
    assert set(counts) == {3, 4}
    assert counts[4] / counts.total() == pytest.approx(1 / 8, abs=4 * (7 / 64 / counts.total()) ** 0.5)


def lines(written: Words) -> Mapping[str, float]:
    """Three lines, each with a digit of its own, and an answer that is right half the time."""
    place, within = divmod(len(written), 3)
    if place < 3:
        return [{"so": 1.0}, {str(digit): 0.25 for digit in range(4)}, {"\n": 1.0}][within]
    return [{"####": 1.0}, {"7": 0.5, "8": 0.5}, {"</s>": 1.0}][within]


def test_solutions_save_the_completions_they_stand_for() -> None:
    problems = PROBLEMS[:50]
    config = make_config(solutions_per_problem=3, completions_per_step=8)
    records, summary = rolled_out(lines, config, problems)
    through: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for record in records:
        for count in (1, 2):
            prefix = (record.problem_id, *record.steps[:count])
            through[prefix].append(record.rewards[-1][0])
    for record in records:
        for count, rewards in enumerate(record.rewards[:-1], 1):
            prefix = (record.problem_id, *record.steps[:count])
            outcomes = through[prefix]
            # All solutions here go on with a step after each of the first two lines, so none is ever left out.
            assert len(rewards) == 8
            assert rewards[: len(outcomes)] == outcomes
    assert summary.completions == sum(8 - len(outcomes) for outcomes in through.values())
    assert {len(outcomes) for outcomes in through.values()} == {1, 2, 3}


def test_without_reuse_and_end_every_prefix_has_k_completions() -> None:
    records, summary = rolled_out(lines, make_config(reuse_solutions=False), PROBLEMS[:20])
    assert {len(rewards) for record in records for rewards in record.rewards[:-1]} == {4}
    assert summary.completions == 4 * summary.prefixes
    assert "reuse_solutions" not in records[0].sampling


@pytest.mark.parametrize("changes", [{"completion_temperature": 0.9}, {"max_tokens": 8}, {"reuse_solutions": False}])
def test_solutions_do_not_stand_for_completions_of_another_kind(changes: dict[str, Any]) -> None:
    # With 8 tokens solutions are cut off within their third line, completions not.
    records, summary = rolled_out(lines, make_config(**changes), PROBLEMS[:20])
    assert {len(rewards) for record in records for rewards in record.rewards[:-1]} == {4}
    assert summary.completions == 4 * summary.prefixes


def test_completions_longer_than_a_solution_may_be_leave_solutions_out() -> None:
    # A solution has 12 tokens. With a limit of 12 it is whole, and so is every completion of a prefix by then.
    whole, _ = rolled_out(lines, make_config(max_tokens=12), PROBLEMS[:20])
    assert {len(rewards) for record in whole for rewards in record.rewards[:-1]} == {4}

    def sometimes_long(written: Words) -> Mapping[str, float]:
        ended = written[-2:-1] == ("####",)
        return {"so": 0.3, "</s>": 0.7} if ended else {"</s>": 1.0} if written[-1:] == ("so",) else lines(written)

    def once_long(written: Words) -> Mapping[str, float]:
        return sometimes_long(written) if len(written) > 9 else lines(written)

    records, summary = rolled_out(once_long, make_config(max_tokens=12, solutions_per_problem=1), PROBLEMS[:200])
    counts = Counter(len(rewards) for record in records for rewards in record.rewards[:-1])
    assert summary.truncated_solutions > 20
    # Cut off (0.3): four completions. Whole: three, and the solution if they are all of 12 tokens (0.7 ** 3).
    shares = {count: counts[count] / counts.total() for count in counts}
    assert shares[4] == pytest.approx(0.3 + 0.7 * 0.7**3, abs=0.12)
    assert shares[3] == pytest.approx(0.7 * (1 - 0.7**3), abs=0.12)


def test_rows_do_not_depend_on_how_problems_are_put_together() -> None:
    config = make_config(enough_successes=2)
    together, _ = rolled_out(selective, config, PROBLEMS[:12])
    one_by_one = [record for problem in PROBLEMS[:12] for record in rolled_out(selective, config, [problem])[0]]
    assert together == one_by_one


def test_enough_successes_end_a_prefix_and_the_last_is_left_out() -> None:
    config = make_config(reuse_solutions=False, completions_per_step=12, enough_successes=3)
    records, summary = rolled_out(lines, config, PROBLEMS[:50])
    lists = [rewards for record in records for rewards in record.rewards[:-1]]
    assert all(sum(rewards) == 2 if len(rewards) < 12 else sum(rewards) < 3 for rewards in lists)
    # The third success comes after six draws on average.
    assert summary.completions / summary.prefixes == pytest.approx(6, abs=0.6)


def test_the_summary_counts_shares_of_successes_where_steps_differ_in_completions() -> None:
    records, summary = rolled_out(lines, make_config(enough_successes=3), PROBLEMS[:50])
    expected = Counter(round(4 * sum(rewards) / len(rewards)) for record in records for rewards in record.rewards[:-1])
    assert summary.steps_by_successes == [expected[place] for place in range(5)]
    assert (summary + summary).steps_by_successes == [2 * expected[place] for place in range(5)]


def cut_prefix(text: str) -> Prefix:
    """The first prefix of a text whose tokens are its characters."""
    solution = cut_solution(Completion(text, tuple(map(ord, text)), "stop"), 0, "lines", decode_characters)
    assert solution is not None
    return solution.prefixes[0]


def decode_characters(token_ids: Any) -> str:
    return "".join(map(chr, token_ids))


@pytest.mark.parametrize(
    ("completion", "cut"),
    [
        ("b\nc", True),
        ("b", True),
        ("#### 7", False),  # belongs to the step before
        ("", False),  # the step is the last
        ("\nb", False),  # the separator is longer
        (" \n\n", False),
        ("b\n#### 7", True),
    ],
)
def test_what_gives_a_prefix(completion: str, cut: bool) -> None:
    prefix = cut_prefix("a\nb\nc")
    assert prefix.text == "a\n"
    sampled = Completion(completion, tuple(map(ord, completion)), "stop")
    assert would_be_cut_at(prefix, sampled, "lines", decode_characters) is cut


def completed_prefixes(
    engine: TransformersEngine, config: RolloutConfig, problem: Problem, records: list[RolloutRecord]
) -> dict[Prefix, list[float]]:
    """The distinct prefixes of a problem's solutions, which are sampled again, with the rewards in its records."""
    prompt = encode_prompt(engine.tokenizer, problem.question)
    [samples] = engine.generate([prompt], config.solution_sampling)
    solutions = [cut_solution(s, 0, "lines", lambda ids: decode_after(engine.tokenizer, prompt, ids)) for s in samples]
    return {
        prefix: rewards
        for record, solution in zip(records, [s for s in solutions if s is not None], strict=True)
        for prefix, rewards in zip(solution.prefixes, record.rewards[:-1], strict=True)
    }


def exact_value(engine: TransformersEngine, policy: Any, problem: Problem, prefix: Prefix) -> float:
    bounds = success_probability(
        policy,
        [*encode_prompt(engine.tokenizer, problem.question), *prefix.token_ids],
        lambda ids: grade(prefix.text + TOKENIZER.decode(ids), problem.answer, "gsm8k"),
        end_id=WORDS.index("</s>"),
        max_new_tokens=24,
        threshold=2e-3,
    )
    return (bounds.low + bounds.high) / 2


def test_labels_of_a_trained_policy_are_unbiased_against_exact_values() -> None:
    policy = make_taught_policy()
    engine = TransformersEngine.from_model(policy, TOKENIZER, "taught")
    sums = [(one, other) for one in range(4) for other in range(2)]
    problems = [Problem(f"p/{a}{b}", f"{a} + {b} =", str((a + b + 1) % 10), "test") for a, b in sums]
    config = RolloutConfig("taught", "nowhere", solutions_per_problem=3, completions_per_step=6, max_tokens=24)
    gaps, variances = [], []
    for enough in (None, 3):
        records, _ = rolled_out(engine, replace(config, enough_successes=enough), problems)
        for problem in problems:
            own = [record for record in records if record.problem_id == problem.problem_id]
            for prefix, rewards in completed_prefixes(engine, config, problem, own).items():
                p = exact_value(engine, policy, problem, prefix)
                gaps.append(sum(rewards) / len(rewards) - p)
                variances.append(p * (1 - p) / 2)
    assert len(gaps) > 40
    # Five standard errors, as if of two draws each, and what the enumeration leaves open.
    assert sum(gaps) / len(gaps) == pytest.approx(0.0, abs=5 * sum(variances) ** 0.5 / len(gaps) + 0.02)
