"""Speed of scoring the steps of many candidates: one forward a step, padded batches, and erprm.

    python benchmarks/scoring.py --gsm8k gsm8k_example_solutions.jsonl            # minutes on two cores
    python benchmarks/scoring.py --gsm8k ... --quick                              # a tiny model: does it all run?

Each way scores the same candidates with the same Llama (8 layers x 384, tied embeddings) in float32, in one process,
one way after another; a round does each once. The candidates are 64 for each of some GSM8K test problems: the four
model solutions published with it (openai/grade-school-math), each 16 times with other digits. So they share the
question and few words more, as sampled candidates do.

    one forward a step    the question and the steps up to one, in a forward of their own, with the logits of the whole
                          vocabulary at every token: what RLHFlow's evaluation script does
    padded batches        whole solutions, as many as --batch together, padded to the longest, with the logits of the
                          whole vocabulary at every token: what the official script does
    erprm                 ProcessRewardModel.score_steps

The first way, whose rate does not depend on how many candidates a problem has, scores every fifth candidate alone.

Printed are solutions per second and erprm's ratio to each way, as lowest - median - highest of the rounds, and the
largest difference of a score of erprm from one of the other ways.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from training import HEADS, LLAMA, QUICK_LLAMA, SETTINGS, read_solutions, save_tokenizer, span
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from erprm.models import ProcessRewardModel
from erprm.steps import Solution, StepEncoder, StepFormat

# One forward a step scores one in so many candidates. (Not a multiple of 4: all four published solutions are in it.)
EVERY = 5


def candidates(path: Path, problems: int, each: int, seed: int = 0) -> list[Solution]:
    """``each`` candidates for every problem, problem after problem."""
    rng = random.Random(seed)
    published: dict[str, list[list[str]]] = {}
    for solution in read_solutions(path, 4, problems):
        published.setdefault(solution["question"], []).append(solution["steps"])
    return [
        Solution(question, [re.sub(r"\d", lambda _: str(rng.randrange(10)), step) for step in steps])
        for question, of_question in published.items()
        for number in range(each)
        for steps in [of_question[number % len(of_question)]]
    ]


def make_model(
    folder: Path, tokenizer: Path, llama: dict[str, int], tag: str, row_tokens: int
) -> tuple[ProcessRewardModel, PreTrainedModel]:
    """A Llama with random weights as a process reward model, and as transformers loads it."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        **llama, **HEADS, max_position_embeddings=1024, tie_word_embeddings=True, pad_token_id=2, bos_token_id=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    step_format = StepFormat(tag=tag, positive=str(SETTINGS["good"]), negative=str(SETTINGS["bad"]))
    model = ProcessRewardModel.from_pretrained(folder, step_format=step_format, score_row_tokens=row_tokens)
    return model, AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def one_forward_a_step(encoder: StepEncoder, llama: PreTrainedModel, solutions: Sequence[Solution]) -> list[Tensor]:
    """See the module's docstring."""
    labels = [encoder.positive_id, encoder.negative_id]
    scores = []
    for encoded in encoder.encode_batch(solutions):
        of_solution = []
        for tag in encoded.tag_positions:
            logits = llama(input_ids=torch.tensor([encoded.input_ids[: tag + 1]])).logits
            of_solution.append(logits[0, -1, labels].softmax(-1)[0])
        scores.append(torch.stack(of_solution))
    return scores


@torch.no_grad()
def padded_batches(
    encoder: StepEncoder, llama: PreTrainedModel, solutions: Sequence[Solution], batch: int
) -> list[Tensor]:
    """See the module's docstring."""
    labels = [encoder.positive_id, encoder.negative_id]
    scores = []
    encoded = encoder.encode_batch(solutions)
    for start in range(0, len(encoded), batch):
        members = encoded[start : start + batch]
        width = max(len(each.input_ids) for each in members)
        ids = torch.tensor([[*each.input_ids, *[0] * (width - len(each.input_ids))] for each in members])
        mask = torch.tensor([[1] * len(e.input_ids) + [0] * (width - len(e.input_ids)) for e in members])
        logits = llama(input_ids=ids, attention_mask=mask).logits
        scores += [
            logits[row, list(each.tag_positions)][:, labels].softmax(-1)[:, 0] for row, each in enumerate(members)
        ]
    return scores


def compare(
    model: ProcessRewardModel, llama: PreTrainedModel, solutions: Sequence[Solution], rounds: int, batch: int
) -> float:
    """Runs all rounds and prints the table.

    Returns:
        The largest difference of a score of erprm from that of another way.
    """
    ways: dict[str, Callable[[Sequence[Solution]], Sequence[Tensor]]] = {
        "one forward a step": lambda some: one_forward_a_step(model.step_encoder, llama, some),
        "padded batches": lambda some: padded_batches(model.step_encoder, llama, some, batch),
        "erprm": model.score_steps,
    }
    every = {"one forward a step": EVERY}
    encoded = model.step_encoder.encode_batch(solutions)
    tokens, steps = sum(len(each.input_ids) for each in encoded), sum(len(each.tag_positions) for each in encoded)
    print(f"{len(solutions)} solutions of {steps / len(solutions):.1f} steps and {tokens / len(solutions):.0f} tokens:")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, Sequence[Tensor]] = {}
    for score in ways.values():
        score(solutions[:2])
    for _ in range(rounds):
        for name, score in ways.items():
            scored = solutions[:: every.get(name, 1)]
            started = time.perf_counter()
            scores[name] = score(scored)
            rates[name].append(len(scored) / (time.perf_counter() - started))
    print(f"{'':<20}{'solutions/s':>24}{'erprm / it':>24}")
    for name, of_way in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["erprm"], of_way, strict=True)]
        print(f"{name:<20}{span(of_way):>24}{span(ratios):>24}")
    difference = max(
        float((ours - theirs).abs().max())
        for name, of_way in scores.items()
        for ours, theirs in zip(scores["erprm"][:: every.get(name, 1)], of_way, strict=True)
    )
    print(f"largest difference of a score: {difference:.1e}", flush=True)
    return difference


def main() -> None:
    """Prints one table for each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="gsm8k_example_solutions.jsonl")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/erprm-benchmarks").expanduser())
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[49_152, 128_256])
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=64, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, help="solutions of a padded batch")
    parser.add_argument("--row_tokens", type=int, default=768, help="of erprm")
    parser.add_argument("--tokenizer", type=Path, help="folder; by default that of SmolLM2")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one problem, one round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.problems = 1, 1
    tokenizer = arguments.tokenizer or save_tokenizer(arguments.work / "smollm2")
    solutions = candidates(arguments.gsm8k, arguments.problems, arguments.candidates)
    for vocabulary in arguments.vocabulary:
        llama = {**(QUICK_LLAMA if arguments.quick else LLAMA), "vocab_size": vocabulary}
        print(f"{arguments.candidates} candidates a problem, vocabulary {vocabulary:,}, {arguments.rounds} round(s)")
        with tempfile.TemporaryDirectory() as folder:
            model, plain = make_model(Path(folder), tokenizer, llama, str(SETTINGS["tag"]), arguments.row_tokens)
            compare(model, plain, solutions, arguments.rounds, arguments.batch)


if __name__ == "__main__":
    main()
