"""A run of ``erprm search``: every method under every budget, a part of the problems at a time.

    output_dir/
      manifest.json                  what the results are determined by, and a hash of it
      candidates/part-00000.jsonl    a line for each problem of the part, method, budget and seed (see `_row`)
      results.json                   accuracy and tokens of each method under each budget

A part is complete or does not exist; running again with the same settings makes the missing parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from erprm.data.sources import Problem, load_problems
from erprm.engines.base import Engine, failing_at
from erprm.engines.registry import check_prompt, open_engine
from erprm.grading import BatchGrader, OutcomeGrader, open_grader, outcome_rewards
from erprm.models.identity import scorer_identity, versions
from erprm.models.scorers.opening import check_step_formats, device_named, named_scorer, opened_scorer
from erprm.runs.atomic import write_json
from erprm.runs.folder import Parts, RunFolder, as_json
from erprm.runs.identity import content_hash
from erprm.runs.lock import sole_use
from erprm.runs.progress import progress_bar
from erprm.scoring import StepScorer, scorer_or_name
from erprm.search.cascade import Cascade
from erprm.search.config import SearchConfig
from erprm.search.opening import opened_cascade
from erprm.search.protocol import PartialSolution
from erprm.search.reading import deciding_scorer
from erprm.search.results import SearchResults, summarize
from erprm.search.searcher import Searcher, SearchResult, chosen_candidate

Row = dict[str, Any]


def run_search(config: SearchConfig, engine: Engine | None = None, console: Console | None = None) -> SearchResults:
    """Runs every method under every budget, or the part of it that is still missing.

    Args:
        config: the settings.
        engine: the policy; by default the one ``config`` names is loaded, and released at the end.
        console: where progress goes; the standard error stream by default.

    Returns:
        Accuracy and tokens of each method under each budget; also written to ``results.json``.

    Raises:
        OutputFolderError: if ``config.output_dir`` holds a run with other settings.
        InUseError: if another command is writing into it.
        SearchError: if a search, the policy and the scorer do not go together.
        ValueError: if the policy was saved with another step format than the scorer's, there is no problem, two share
            an id, or the scorer returns not one score for each step.
        FileNotFoundError: if the policy, the scorer or the problems do not exist.
        EngineError: if the engine has failed for good.
    """
    problems = load_problems(config.source, config.path, config.split, config.limit, unanswered=True)
    folder = RunFolder(Path(config.output_dir), "a search")
    parts = Parts(folder.path / "candidates", config.problems_per_part, "part-")
    with ExitStack() as stack:
        stack.enter_context(sole_use(folder.path))
        if engine is None:
            check_prompt(config, config.prompt)
        else:
            config.prompt.check_chat(engine.tokenizer)
        named = scorer_or_name(config.scorer, "scorer")
        if isinstance(named, str):
            named = named_scorer(named, config.calibration)
        scorer: StepScorer = stack.enter_context(opened_scorer(named, device_named(config.device)))
        check_step_formats(config.model, getattr(scorer, "step_format", None), "scorer")
        cascade = stack.enter_context(opened_cascade(config, device_named(config.device)))
        policy = engine if engine is not None else stack.enter_context(closing(open_engine(config, config.prompt)))
        settings = as_json(
            {
                **config.content_settings(),
                "policy": policy.fingerprint(),
                **config.prompt.identity(policy.tokenizer),
                "scorer": scorer_identity(scorer, "scorer"),
                **_identity_of(cascade),
                "problems": content_hash({"problems": [asdict(problem) for problem in problems]}),
            }
        )
        folder.begin(settings)
        parted = parts.of(problems)
        is_whole = all(map(parts.is_done, range(len(parted))))
        grader = None if is_whole else stack.enter_context(open_grader(config.grading, "grading"))
        searcher = Searcher(policy, scorer, config.decoding, config.aggregation, config.grading_kind, cascade)
        progress = stack.enter_context(progress_bar(console or Console(stderr=True)))
        runs = len(config.methods) * len(config.budgets) * len(config.seeds)
        task = progress.add_task("searches", total=len(problems) * runs)
        for number, part in enumerate(parted):
            if not parts.is_done(number):
                assert grader is not None
                rows = []
                with failing_at(
                    f"part {number}, problems {part[0].problem_id!r} to {part[-1].problem_id!r}",
                    "The parts that are written are kept; the same command continues with this one.",
                ):
                    for row in _search_part(part, searcher, grader, config):
                        rows.append(row)
                        progress.advance(task)
                parts.write(number, rows)
            else:
                progress.advance(task, len(part) * runs)
        results = summarize(parts.rows(len(parted)))
        content = {**asdict(results), "determined_by": {**settings, "versions": versions()}}
        write_json(content, folder.path / "results.json")
    return results


def _identity_of(cascade: Cascade | None) -> dict[str, Any]:
    """Settings that determine the results of a run with a cascade; nothing without one."""
    if cascade is None:
        return {}
    scorer = scorer_identity(deciding_scorer(cascade), "cascade.scorer")
    return {"cascade": {"scorer": scorer, "keep": cascade.keep, "flops": cascade.flops}}


def _search_part(
    problems: Sequence[Problem], searcher: Searcher, grader: OutcomeGrader | BatchGrader, config: SearchConfig
) -> Iterator[Row]:
    for method, search in config.searches.items():
        for budget in config.budgets:
            for seed in config.seeds:
                results = searcher.search_all(search, problems, budget, seed)
                correct = _graded(problems, results, grader, config)
                for problem, result in zip(problems, results, strict=True):
                    run = {"method": method, "budget_tokens": budget, "seed": seed}
                    chosen = chosen_candidate(result, config.select, config.vote_eta)
                    yield _row(problem, run, result, chosen, correct)


def _graded(
    problems: Sequence[Problem],
    results: Sequence[SearchResult],
    grader: OutcomeGrader | BatchGrader,
    config: SearchConfig,
) -> dict[tuple[str, str], bool]:
    """Verdict on each text, by problem and text; problems without an answer are left out."""
    graded = {
        (problem.problem_id, candidate.text): (problem.answer, candidate)
        for problem, result in zip(problems, results, strict=True)
        if problem.answer
        for candidate in result.candidates
    }
    pairs = [(candidate.text, answer) for answer, candidate in graded.values()]
    cut_off = [candidate.end == "length" for _, candidate in graded.values()]
    rewards = outcome_rewards(grader, pairs, config.grading_kind, "grading", cut_off)
    return {key: reward >= config.correct_threshold for key, reward in zip(graded, rewards, strict=True)}


def _row(
    problem: Problem,
    run: Mapping[str, Any],
    result: SearchResult,
    chosen: int,
    correct: Mapping[tuple[str, str], bool],
) -> Row:
    """A line of a part.

    ``correct`` is null without a gold answer, and ``score`` for a solution without a step or that a cascade has
    filtered out. Tokens and operations of a scorer are null where they cannot be counted; ``cascade`` has those of the
    second scorer.
    """

    def of_candidate(candidate: PartialSolution) -> Row:
        return {
            "text": candidate.text,
            "score": candidate.score if math.isfinite(candidate.score) else None,
            "step_scores": candidate.step_scores,
            "end": candidate.end,
            "correct": correct.get((problem.problem_id, candidate.text)),
        }

    candidates = [of_candidate(candidate) for candidate in result.candidates]
    return {
        **asdict(problem),
        **run,
        "tokens": result.tokens,
        "scored": result.scored,
        "scorer_tokens": result.read.tokens,
        "scorer_flops": result.read.flops,
        **({} if result.decided is None else {"cascade": asdict(result.decided)}),
        "chosen": chosen,
        "correct": candidates[chosen]["correct"],
        "candidates": candidates,
    }
