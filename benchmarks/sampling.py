"""Sampling by `TransformersEngine` and by transformers' own `generate`, of the same model on the same prompts.

    python benchmarks/sampling.py MODEL                                  # a folder; on a CPU

Every completion has the same number of tokens: the end-of-text token is ruled out in both, so neither gains by luck.
The arms take turns; what is printed are tokens a second of each round and the ratio, lowest - median - highest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from erprm.engines.base import Sampling
from erprm.engines.transformers import TransformersEngine

QUESTION = (
    "Problem {number}: a shop sells {number} chairs a day at $60 each. Today it takes 30% off. Jack takes home 8 of "
    "them and pays with $800. How much change does he get?\n"
)


def seconds(work: Callable[[], object]) -> float:
    """Time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Prints the speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--completions", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="of each completion")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    prompts = [QUESTION.format(number=10 + number) for number in range(arguments.prompts)]
    batch = arguments.prompts * arguments.completions
    engine = TransformersEngine.from_model(model, tokenizer, batch_size=batch)
    ended = torch.tensor(sorted(engine._end_ids))
    model.get_output_embeddings().register_forward_hook(
        lambda _module, _inputs, logits: logits.index_fill(-1, ended, -1e9)
    )
    ids = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    generate = {
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "num_return_sequences": arguments.completions,
        "max_new_tokens": arguments.tokens,
        "pad_token_id": tokenizer.eos_token_id,
    }
    sampling = Sampling(arguments.completions, max_tokens=arguments.tokens, seed=0)
    made = batch * arguments.tokens
    speeds: dict[str, list[float]] = {"generate": [], "erprm": []}
    for _ in range(arguments.rounds):
        speeds["generate"].append(made / seconds(lambda: model.generate(**ids, **generate)))
        speeds["erprm"].append(made / seconds(lambda: engine.generate(prompts, sampling)))
    for name, values in speeds.items():
        print(f"{name}: {', '.join(f'{value:.0f}' for value in values)} tokens/s")
    ratios = sorted(ours / theirs for ours, theirs in zip(speeds["erprm"], speeds["generate"], strict=True))
    print(f"erprm / generate: {ratios[0]:.2f} - {statistics.median(ratios):.2f} - {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
