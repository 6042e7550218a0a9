"""Cascades: what passes the first scorer, what the second reads, and who is chosen."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from erprm.data.sources import Problem
from erprm.models import ProcessRewardModel
from erprm.runs.folder import OutputFolderError
from erprm.search import BeamSearch, BestOfNSearch, Cascade, PartialSolution, Reading, Searcher, SearchResult
from erprm.search.config import SearchConfig
from erprm.search.reading import readings
from erprm.search.results import search_table, summarize
from erprm.search.run import run_search
from erprm.search.searcher import chosen_candidate
from erprm.steps import Solution
from tests.engines.known_policy import KnownPolicy
from tests.rollout.conftest import make_word_tokenizer
from tests.search.conftest import DECODING, PROBLEMS, SevenIsRight, partial, two_steps
from tests.tiny import save_tiny_llama


class TwoIsRight(SevenIsRight):
    """Says 0.8 of a step with a 2, and 0.3 of any other, so it turns round what the first scorer says."""

    def _score(self, step: str) -> float:
        return 0.8 if "2" in step else 0.3


def make_policy() -> KnownPolicy:
    return KnownPolicy(two_steps, make_word_tokenizer())


def make_searcher(cascade: Cascade | None = None) -> Searcher:
    return Searcher(make_policy(), SevenIsRight(), DECODING, "min", cascade=cascade)


# What passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "kept"), [(0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.51, 3), (1.0, 4)])
def test_a_share_of_the_candidates_passes_rounded_up_the_best_first(keep: float, kept: int) -> None:
    candidates = [partial(name, score, end="stop") for name, score in ((1, 0.2), (2, 0.9), (3, 0.5), (4, 0.1))]
    ranked = [("step 2",), ("step 3",), ("step 1",), ("step 4",)]
    assert Cascade("prm", keep).kept(candidates) == ranked[:kept]


def test_a_share_is_not_rounded_up_for_its_last_digit() -> None:
    candidates = [partial(name, 0.5, end="stop") for name in range(100)]
    assert 0.07 * 100 > 7
    assert len(Cascade("prm", 0.07).kept(candidates)) == 7


def test_equal_candidates_count_once_one_cut_off_comes_last_and_one_without_a_step_never() -> None:
    best, other, cut_off = partial(1, 0.6, end="stop"), partial(2, 0.4, end="stop"), partial(3, 0.9, end="length")
    candidates = [cut_off, best, other, best, PartialSolution(end="stop")]
    assert Cascade("prm", 1.0).kept(candidates) == [("step 1",), ("step 2",), ("step 3",)]
    assert Cascade("prm", 0.3).kept(candidates) == [("step 1",)]
    assert Cascade("prm").kept([PartialSolution(end="stop")]) == []


def test_operations_are_spent_on_the_best_and_at_least_on_one() -> None:
    costs = [40, 30, 20, 10]
    affordable = {flops: Cascade("prm", flops=flops).affordable(costs) for flops in (1, 40, 69, 70, 99, 100, 1000)}
    assert affordable == {1: 1, 40: 1, 69: 1, 70: 2, 99: 3, 100: 4, 1000: 4}
    assert Cascade("prm").affordable(costs) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scorer": 3}, r"cascade.scorer needs score_steps\(solutions\); int has none"),
        ({"keep": 0.0}, "cascade.keep is 0.0; it must be above 0 and at most 1"),
        ({"keep": 1.1}, "cascade.keep is 1.1; it must be above 0 and at most 1"),
        ({"keep": float("nan")}, "cascade.keep is nan"),
        ({"flops": 0.0}, "cascade.flops is 0.0; it must be above 0"),
        ({"flops": float("nan")}, "cascade.flops is nan"),
    ],
)
def test_settings_that_make_no_cascade_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cascade(**{"scorer": "prm", **settings})


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        (Cascade("prm"), "cascade.scorer is 'prm', a name; give a scorer that is ready"),
        (Cascade(TwoIsRight(), flops=1e9), r"cascade.flops is 1e\+09, but TwoIsRight has no backbone here"),
    ],
)
def test_a_searcher_refuses_a_scorer_that_cannot_decide(cascade: Cascade, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_searcher(cascade)


# Who is chosen ----------------------------------------------------------------------------------------------------


def assert_decided(before: SearchResult, after: SearchResult, kept: Sequence[tuple[str, ...]]) -> None:
    """The kept have the second scorer's scores, the others those of their steps but none of their own."""
    for cheap, dear in zip(before.candidates, after.candidates, strict=True):
        if dear.steps in kept:
            (scores,) = TwoIsRight().score_steps([Solution("", dear.steps)])
            assert dear == replace(cheap, step_scores=tuple(scores.tolist()), score=scores.min().item())
        else:
            assert dear == replace(cheap, score=-float("inf"))


@pytest.mark.parametrize("search", [BestOfNSearch(), BeamSearch(2, 2)])
def test_the_second_scorer_reads_the_share_that_the_first_puts_first_and_chooses_among_it(search: Any) -> None:
    decider = TwoIsRight()
    without = make_searcher().search_all(search, PROBLEMS, 160, seed=1)
    cascade = Cascade(decider, keep=0.5)
    results = make_searcher(cascade).search_all(search, PROBLEMS, 160, seed=1)
    read, changed = 0, 0
    for before, after in zip(without, results, strict=True):
        kept = cascade.kept(before.candidates)
        read += len(kept)
        # The search itself is the same, and half of the distinct solutions have passed.
        assert (after.tokens, after.read) == (before.tokens, before.read)
        assert len(kept) == -(-len({candidate.steps for candidate in before.candidates}) // 2)
        assert after.decided == Reading(len(kept), None, None)
        assert_decided(before, after, kept)
        chosen = after.candidates[after.chosen]
        assert chosen.steps in kept
        assert chosen.score == max(candidate.score for candidate in after.candidates)
        changed += before.chosen != after.chosen
    assert decider.calls == [read]  # all problems in one call
    assert changed


def test_with_a_small_share_the_first_scorer_decides_alone_and_with_all_the_second() -> None:
    without = make_searcher().search_all(BestOfNSearch(), PROBLEMS, 100, seed=0)
    least = make_searcher(Cascade(TwoIsRight(), keep=0.01)).search_all(BestOfNSearch(), PROBLEMS, 100, seed=0)
    assert [result.candidates[result.chosen].steps for result in least] == [
        result.candidates[result.chosen].steps for result in without
    ]
    everything = make_searcher(Cascade(TwoIsRight(), keep=1.0)).search_all(BestOfNSearch(), PROBLEMS, 100, seed=0)
    alone = Searcher(make_policy(), TwoIsRight(), DECODING, "min").search_all(BestOfNSearch(), PROBLEMS, 100, seed=0)
    for one, other in zip(everything, alone, strict=True):
        assert (one.candidates, one.chosen) == (other.candidates, other.chosen)


def test_only_what_has_passed_votes() -> None:
    def candidate(name: int, score: float, answer: str) -> PartialSolution:
        return replace(partial(name, score, end="stop"), answer=answer)

    candidates = (*(candidate(name, -float("inf"), "8") for name in (1, 2, 3)), candidate(4, 0.1, "7"))
    result = SearchResult(candidates, 3, 40, Reading(4), Reading(1))
    for select in ("best", "majority", "weighted_vote", "entropic_vote"):
        assert chosen_candidate(result, select, None) == 3


def test_a_problem_without_a_step_to_score_is_left_as_it_is() -> None:
    decider = TwoIsRight()
    policy = KnownPolicy(lambda words: {"</s>": 1.0}, make_word_tokenizer())
    searcher = Searcher(policy, SevenIsRight(), DECODING, "min", cascade=Cascade(decider))
    (result,) = searcher.search_all(BestOfNSearch(n=2), PROBLEMS[:1], 100, seed=0)
    assert (result.decided, decider.calls) == (Reading(), [])
    assert [candidate.text for candidate in result.candidates] == ["", ""]


# What is read -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> ProcessRewardModel:
    return ProcessRewardModel.from_pretrained(save_tiny_llama(tmp_path_factory.mktemp("prm") / "llama"))


# Queries 32 x 32, keys and values 32 x 16, output 32 x 32; feed-forward 3 x 32 x 64; two layers.
WEIGHTS = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64)


def test_a_reading_is_the_tokens_of_each_solution_and_the_operations_of_one_forward_pass(
    reward_model: ProcessRewardModel,
) -> None:
    solutions = [Solution("3 + 4 =", ("3 + 4 = 7.", "The answer is: 7")), Solution("3 + 4 =", ("3 + 4 = 7.",))]
    lengths = [len(reward_model.step_encoder.encode(each).input_ids) for each in solutions]
    assert lengths[0] > lengths[1] > 10
    # Two operations a weight and token; four a feature, layer and pair of tokens.
    assert readings(reward_model, solutions) == [
        Reading(1, T, 2 * WEIGHTS * T + 4 * 32 * 2 * T * (T + 1) // 2) for T in lengths
    ]
    assert readings(reward_model, []) == []


def test_without_weights_tokens_are_counted_and_without_a_tokenizer_only_solutions(
    reward_model: ProcessRewardModel,
) -> None:
    class Served:
        step_encoder = reward_model.step_encoder

    solution = Solution("3 + 4 =", ("3 + 4 = 7.",))
    (of_model,) = readings(reward_model, [solution])
    assert readings(Served(), [solution]) == [Reading(1, of_model.tokens, None)]  # type: ignore[arg-type]
    assert readings(SevenIsRight(), [solution]) == [Reading(1, None, None)]


def test_readings_add_up_as_far_as_they_are_known() -> None:
    assert Reading(1, 10, 100) + Reading(2, 5, 50) == Reading(3, 15, 150)
    assert Reading(1, 10, 100) + Reading(1, 7, None) == Reading(2, 17, None)
    assert Reading(1, None, None) + Reading(1, 7, 9) == Reading(2, None, None)


def test_a_limit_of_operations_is_kept_on_every_problem(reward_model: ProcessRewardModel) -> None:
    problem = Problem("p/0", "0 + 0 =", "7", "p")
    everything = Searcher(make_policy(), SevenIsRight(), DECODING, "min", cascade=Cascade(reward_model, 1.0))
    (whole,) = everything.search_all(BestOfNSearch(), [problem], 160, seed=1)
    assert whole.decided is not None
    assert whole.decided.flops is not None
    assert whole.decided.solutions > 2
    for share in (1.0, 0.6, 0.01):
        limit = share * whole.decided.flops
        cascade = Cascade(reward_model, 1.0, flops=limit)
        limited = Searcher(make_policy(), SevenIsRight(), DECODING, "min", cascade=cascade)
        (result,) = limited.search_all(BestOfNSearch(), [problem], 160, seed=1)
        assert result.decided is not None
        assert result.decided.flops is not None
        assert result.decided.flops <= limit or result.decided.solutions == 1
        scored = {candidate.steps for candidate in result.candidates if candidate.score > -float("inf")}
        assert len(scored) == result.decided.solutions
        assert (result.decided.solutions == whole.decided.solutions) == (share == 1.0)


# Runs -------------------------------------------------------------------------------------------------------------


def make_config(folder: Path, **changes: Any) -> SearchConfig:
    problems = folder / "problems.jsonl"
    problems.write_text("".join(f'{{"question": "{i} + {i} =", "answer": "2"}}\n' for i in range(3)), encoding="utf-8")
    settings: dict[str, Any] = {
        "model": "known",
        "scorer": SevenIsRight(),
        "cascade": Cascade(TwoIsRight(), keep=0.5),
        "output_dir": str(folder / "out"),
        "source": "jsonl",
        "path": str(problems),
        "methods": {"best of N": BestOfNSearch()},
        "budgets": [100],
        "max_tokens": 16,
        "max_step_tokens": 4,
        "grading": "gsm8k",
        "problems_per_part": 2,
    }
    return SearchConfig(**{**settings, **changes})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for part in sorted((folder / "out/candidates").iterdir())
        for line in part.read_text(encoding="utf-8").splitlines()
    ]


def test_a_run_writes_what_both_scorers_have_read_and_no_score_of_what_was_filtered_out(tmp_path: Path) -> None:
    results = run_search(make_config(tmp_path), make_policy())
    rows = rows_of(tmp_path)
    for row in rows:
        distinct = {candidate["text"] for candidate in row["candidates"]}
        read = {candidate["text"] for candidate in row["candidates"] if candidate["score"] is not None}
        assert row["cascade"] == {"solutions": len(read), "tokens": None, "flops": None}
        assert len(read) == -(-len(distinct) // 2)
        assert row["candidates"][row["chosen"]]["text"] in read
    (point,) = results.points
    assert point.cascade_scored == pytest.approx(sum(row["cascade"]["solutions"] for row in rows) / 3)
    assert (point.scorer_tokens, point.scorer_flops, point.cascade_tokens, point.cascade_flops) == (None,) * 4
    assert search_table(results, details=True).header[-2:] == ["scored", "cascade scored"]
    # Running again comes to the same; another share or scorer is another run.
    assert run_search(make_config(tmp_path), make_policy()) == results
    for cascade, named in (
        (Cascade(TwoIsRight(), keep=0.4), "cascade.keep: 0.5 there, 0.4 now"),
        (Cascade(SevenIsRight(), keep=0.5), "cascade.scorer.class: "),
        (None, "cascade."),
    ):
        with pytest.raises(OutputFolderError, match="holds a search with other settings") as refusal:
            run_search(make_config(tmp_path, cascade=cascade), make_policy())
        assert named in str(refusal.value)


def test_a_run_shows_tokens_and_operations_where_they_are_known(
    reward_model: ProcessRewardModel, tmp_path: Path
) -> None:
    config = make_config(tmp_path, scorer=reward_model, cascade=Cascade(reward_model, keep=0.5))
    results = run_search(config, make_policy())
    rows = rows_of(tmp_path)
    (point,) = results.points
    assert point.scorer_tokens == pytest.approx(sum(row["scorer_tokens"] for row in rows) / 3)
    assert point.scorer_flops == pytest.approx(sum(row["scorer_flops"] for row in rows) / 3)
    assert point.cascade_tokens == pytest.approx(sum(row["cascade"]["tokens"] for row in rows) / 3)
    assert point.cascade_flops == pytest.approx(sum(row["cascade"]["flops"] for row in rows) / 3)
    table = search_table(results, details=True)
    assert table.header[-6:] == [
        "scored", "scorer tokens", "scorer FLOPs", "cascade scored", "cascade tokens", "cascade FLOPs"
    ]  # fmt: skip
    assert table.rows[0][-4:-2] == [f"{point.scorer_flops:.2e}", f"{point.cascade_scored:,.1f}"]


def test_counts_that_earlier_rows_lack_are_unknown() -> None:
    row = {"problem_id": "a", "method": "m", "budget_tokens": 64, "seed": 0, "tokens": 9, "scored": 2, "correct": True}
    rows = [{**row, "candidates": []}, {**row, "problem_id": "b", "candidates": [], "scorer_tokens": 7}]
    (point,) = summarize(rows).points
    assert (point.scored, point.scorer_tokens, point.cascade_scored) == (2.0, None, None)
