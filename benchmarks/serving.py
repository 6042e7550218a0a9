"""Requests a second and latency of `erprm serve` beside the same searches called directly.

    python benchmarks/serving.py demo                               # a folder that `erprm demo` has filled
    python benchmarks/serving.py demo --requests 128 --clients 32 --n 8 --rounds 3

As many clients as said ask one question after the other, over HTTP and with the `openai` package. The direct calls
search as many questions at a time as there are clients, with the same policy, reward model and strategy, in the same
process and in turns with the server. Printed are the lowest, the median and the highest of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from openai import OpenAI

from erprm.data.sources import Problem, load_problems
from erprm.engines.base import Engine
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.models import ProcessRewardModel
from erprm.search import BestOfNSearch, Decoding, Searcher
from erprm.serve import ServeConfig, serving

PROMPT = PromptFormat("{question}\n")
MAX_TOKENS = 64


def over_http(url: str, problems: Sequence[Problem], clients: int) -> tuple[float, list[float]]:
    """Requests a second, and the seconds of each."""

    def ask(problem: Problem) -> float:
        began = time.perf_counter()
        client.chat.completions.create(model="policy", messages=[{"role": "user", "content": problem.question}])
        return time.perf_counter() - began

    with (
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        began = time.perf_counter()
        seconds = list(pool.map(ask, problems))
        return len(problems) / (time.perf_counter() - began), seconds


def directly(searcher: Searcher, problems: Sequence[Problem], at_once: int, n: int) -> tuple[float, list[float]]:
    """The same of direct calls."""
    seconds: list[float] = []
    began = time.perf_counter()
    for first in range(0, len(problems), at_once):
        batch = problems[first : first + at_once]
        since = time.perf_counter()
        searcher.search_all(BestOfNSearch(n), batch, n * MAX_TOKENS, seed=first)
        seconds += [time.perf_counter() - since] * len(batch)
    return len(problems) / (time.perf_counter() - began), seconds


def main() -> None:
    """Measures, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    problems = load_problems("jsonl", str(options.demo / "problems/test.jsonl"))[: options.requests]
    reward_model = ProcessRewardModel.from_pretrained(options.demo / "reward_model_er")
    with closing(TransformersEngine(str(options.demo / "policy"), batch_size=512, device="cpu")) as policy:
        measured = _measured(policy, reward_model, problems, options)
    print("| | requests a second | p50, s | p99, s |\n| --- | ---: | ---: | ---: |")
    for name, rounds in measured.items():
        rates = [rate for rate, _ in rounds]
        cuts = [statistics.quantiles(seconds, n=100) for _, seconds in rounds]
        columns = [rates, [cut[49] for cut in cuts], [cut[98] for cut in cuts]]
        cells = [f"{min(each):.2f} - {statistics.median(each):.2f} - {max(each):.2f}" for each in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")
    ratios = sorted(http[0] / direct[0] for http, direct in zip(*measured.values(), strict=True))
    print(f"\nServed over direct, by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


def _measured(
    policy: Engine, reward_model: ProcessRewardModel, problems: Sequence[Problem], options: argparse.Namespace
) -> dict[str, list[tuple[float, list[float]]]]:
    decoding = Decoding(PROMPT, "lines", ("\n",), (), 1.0, 1.0, max_tokens=MAX_TOKENS, max_step_tokens=MAX_TOKENS)
    searcher = Searcher(policy, reward_model, decoding, "min")
    config = ServeConfig(
        "policy",
        reward_model,
        prompt=PROMPT,
        strategy=f"best_of_n:n={options.n}",
        port=0,
        max_tokens=MAX_TOKENS,
        max_step_tokens=MAX_TOKENS,
        name="policy",
    )
    measured: dict[str, list[tuple[float, list[float]]]] = {"erprm serve": [], "direct": []}
    with serving(config, policy) as url:
        over_http(url, problems[: options.clients], options.clients)  # to warm up
        for _ in range(options.rounds):
            measured["erprm serve"].append(over_http(url, problems, options.clients))
            measured["direct"].append(directly(searcher, problems, options.clients, options.n))
    return measured


if __name__ == "__main__":
    main()
