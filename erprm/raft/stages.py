"""Stages of a round, each written to its own folder; `rounds` runs them in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedModel

from erprm.data.policy import PolicySample
from erprm.data.pools import answer_key
from erprm.data.sources import Problem
from erprm.engines.base import Engine, Sampling
from erprm.grading import Kind, extract_answer, open_grader
from erprm.metrics.choice import choose
from erprm.models.backbone.loading import load_causal_lm
from erprm.models.scorers.opening import check_step_formats, device_named
from erprm.raft.config import RaftConfig
from erprm.raft.evaluation import EvaluatedProblem, Evaluation, evaluate
from erprm.raft.log_probs import solution_log_probs, token_log_probs
from erprm.raft.selectors import (
    NEVER,
    OracleSelector,
    RandomSelector,
    RewardModelSelector,
    SelectionError,
    Selector,
    keep_best,
    open_scorer,
    outcomes,
    scorer_config_key,
)
from erprm.raft.solutions import SampledProblem, read_rows, read_solutions, sample
from erprm.runs.atomic import write_json, write_json_lines
from erprm.runs.folder import Parts

EVALUATION_FILE, KEPT_FILE = "evaluation.json", "samples.jsonl"

Resource = TypeVar("Resource")


@contextmanager
def opened_when_asked(
    open_it: Callable[[], AbstractContextManager[Resource]],
) -> Iterator[Callable[[], Resource]]:
    """Gives a model that is loaded when it is first asked for, and freed at the end of the block."""
    with ExitStack() as stack:
        ask = cache(lambda: stack.enter_context(open_it()))
        yield ask
        ask.cache_clear()


@contextmanager
def open_selector(config: RaftConfig, name: str) -> Iterator[Selector]:
    """The selector of a name, with the reward model or the grader that it needs."""
    if name == "random":
        yield RandomSelector(config.seed)
    elif name == "oracle":
        with open_grader(config.grading, "grading") as grader:
            yield OracleSelector(grader, config.problems.kind(config.grading), config.correct_threshold)
    else:
        key = scorer_config_key(name)
        with open_scorer(config.scorer_settings[name], key, device_named(config.device)) as scorer:
            check_step_formats(config.model, getattr(scorer, "step_format", None), key)
            if isinstance(scorer, Selector):
                yield scorer
            else:
                yield RewardModelSelector(scorer, config.style, config.aggregation)


def sample_solutions(
    config: RaftConfig,
    problems: Sequence[Problem],
    sampling: Sampling,
    engine: Callable[[], Engine],
    folder: Path,
) -> None:
    """Samples solutions of problems."""
    Parts(folder, config.problems_per_part).make(
        problems,
        lambda part: [each.as_row() for each in sample(engine(), part, config.prompt, sampling)],
    )


def score_solutions(config: RaftConfig, samples: Path, selector: Callable[[], Selector], folder: Path) -> None:
    """Scores solutions; one that is never to be kept has a null, since JSON has no infinity."""
    Parts(folder, config.problems_per_part).make(
        list(read_solutions(samples)),
        lambda part: [
            {"problem_id": each.problem.problem_id, "scores": [None if s == NEVER else s for s in scores]}
            for each, scores in zip(part, selector().scores(part), strict=True)
        ],
    )


def _answers(solutions: SampledProblem, kind: Kind) -> list[Hashable]:
    """The final answer of each solution, equal where they vote together."""
    return [answer_key(extract_answer(text, kind)) for text in solutions.candidates]


def _of_the_winner(config: RaftConfig, solutions: SampledProblem, scores: list[float]) -> list[float]:
    """The scores, with none for solutions that were cut off or have another answer than the one that wins the vote."""
    answers = _answers(solutions, config.problems.kind(config.grading))
    scores = [score if ended else NEVER for score, ended in zip(scores, solutions.finished, strict=True)]
    winner = answers[choose(scores, answers, config.select, config.vote_eta)]
    return [score if answer == winner else NEVER for score, answer in zip(scores, answers, strict=True)]


def select_solutions(config: RaftConfig, number: int, samples: Path, scores: Path, folder: Path) -> None:
    """Writes the solutions that are kept, as samples of ``erprm sft``.

    Raises:
        SelectionError: if there are none.
    """
    kept, best, tried, cut_off = [], NEVER, 0, 0
    for each, row in zip(read_solutions(samples), read_rows(scores), strict=True):
        of_problem = [NEVER if score is None else score for score in row["scores"]]
        best = max([best, *of_problem])
        tried, cut_off = tried + len(of_problem), cut_off + each.finished.count(False)
        if config.select != "best":
            of_problem = _of_the_winner(config, each, of_problem)
        kept += [
            {
                "prompt": each.prompt_ids,
                "completion": each.token_ids[place],
                "problem_id": each.problem.problem_id,
                "text": each.candidates[place],
                "score": of_problem[place],
            }
            for place in keep_best(
                of_problem,
                each.candidates,
                each.finished,
                top_k=config.top_k,
                threshold=config.threshold,
                deduplicate=config.deduplicate,
            )
        ]
    if not kept:
        raise SelectionError(
            f"round {number}: none of {tried} solutions is kept: threshold is {config.threshold}, the best score is "
            f"{best:.4g}, and {cut_off} solution(s) were cut off at max_tokens={config.max_tokens}. What was sampled "
            "and scored stays: run the same command with a lower threshold (after the first round together with "
            "allow_change=true)"
        )
    write_json_lines(kept, folder / KEPT_FILE)


def sample_held_out(
    config: RaftConfig, problems: Sequence[Problem], number: int, engine: Callable[[], Engine], folder: Path
) -> None:
    """Samples what the evaluation of a round is made from: the most likely solution of each problem, and some more."""
    sampling = config.evaluation_sampling(number)
    for name, how in (("greedy", replace(sampling, n=1, temperature=0.0)), ("sampled", sampling)):
        sample_solutions(config, problems, how, engine, folder / name)


def evaluate_policy(
    config: RaftConfig,
    number: int,
    policy: str,
    held_out: Path,
    selector: Callable[[], Selector] | None,
    folder: Path,
) -> None:
    """Evaluates the policy of a round by its solutions of the held-out problems."""
    greedy, sampled = (list(read_solutions(held_out / name)) for name in ("greedy", "sampled"))
    with open_grader(config.grading, "grading") as grader:
        kind = config.held_out.kind(config.grading)
        right_greedy, right = (
            [[reward >= config.correct_threshold for reward in rewards] for rewards in outcomes(grader, part, kind)]
            for part in (greedy, sampled)
        )
    samples = _samples(sampled)
    now = _log_probs(config, policy, None if number else config.gguf_file, samples)
    ratios = None
    if number:
        initial = _log_probs(config, config.model, config.gguf_file, samples)
        ratios = _by_problem(sampled, [one - other for one, other in zip(now, initial, strict=True)])
    log_probs = _by_problem(sampled, now)
    scores = None
    if selector is not None:
        # A solution that the reward model cannot read is worth nothing to it.
        scores = [[0.0 if score == NEVER else score for score in found] for found in selector().scores(sampled)]
    problems = [
        EvaluatedProblem(
            each.problem.problem_id,
            right_greedy[place][0],
            right[place],
            scores[place] if scores else None,
            ratios[place] if ratios else None,
            log_probs[place],
            [len(ids) for ids in each.token_ids],
            len(set(each.candidates)),
            len(set(_answers(each, kind))),
        )
        for place, each in enumerate(sampled)
    ]
    finished = [finished for each in sampled for finished in each.finished]
    evaluation = evaluate(number, problems, finished.count(False) / len(finished))
    write_json_lines((asdict(each) for each in problems), folder / "problems.jsonl")
    write_json(evaluation.as_json(), folder / EVALUATION_FILE)


def read_evaluation(folder: Path) -> Evaluation:
    """Reads an evaluation that :func:`evaluate_policy` has written."""
    return Evaluation.from_json(json.loads((folder / EVALUATION_FILE).read_text(encoding="utf-8")))


def log_ratios(
    sampled: Sequence[SampledProblem],
    now: Callable[[Sequence[PolicySample]], list[float]],
    initial: Callable[[Sequence[PolicySample]], list[float]],
) -> list[list[float]]:
    """``log pi - log pi0`` of every sampled solution, from functions that give the log-probabilities under each."""
    samples = _samples(sampled)
    return _by_problem(sampled, [one - other for one, other in zip(now(samples), initial(samples), strict=True)])


def _samples(sampled: Sequence[SampledProblem]) -> list[PolicySample]:
    """All solutions of all problems."""
    return [
        PolicySample([*each.prompt_ids, *ids], len(each.prompt_ids), each.problem.problem_id)
        for each in sampled
        for ids in each.token_ids
    ]


def _by_problem(sampled: Sequence[SampledProblem], values: Sequence[float]) -> list[list[float]]:
    """One value for each of :func:`_samples`, by problem."""
    rest = iter(values)
    return [list(islice(rest, len(each.token_ids))) for each in sampled]


def add_log_probs(config: RaftConfig, policy: str, gguf_file: str | None, selected: Path, folder: Path) -> None:
    """Writes the solutions that are kept once more, with how likely each token was under the policy that wrote it."""
    rows = list(read_rows(selected))
    samples = [PolicySample([*row["prompt"], *row["completion"]], len(row["prompt"]), "") for row in rows]
    loaded = _load_policy(config, policy, gguf_file)
    found = token_log_probs(loaded, samples, config.temperature, config.batch_tokens)
    write_json_lines(
        ({**row, "log_probs": each.tolist()} for row, each in zip(rows, found, strict=True)), folder / KEPT_FILE
    )


def _log_probs(config: RaftConfig, model: str, gguf_file: str | None, samples: Sequence[PolicySample]) -> list[float]:
    policy = _load_policy(config, model, gguf_file)
    return solution_log_probs(policy, samples, config.temperature, config.batch_tokens)


def _load_policy(config: RaftConfig, model: str, gguf_file: str | None) -> PreTrainedModel:
    device = device_named(config.device)
    dtype: Any = config.dtype if config.dtype != "auto" else "float32" if device.type == "cpu" else "bfloat16"
    policy: PreTrainedModel = load_causal_lm(model, gguf_file, dtype=dtype)
    nn.Module.to(policy.eval(), device)
    return policy
