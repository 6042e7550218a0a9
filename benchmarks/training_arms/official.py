"""The official ER-PRM script's way of training, written afresh (hanningzhang/ER-PRM, prm/kl_math_reward_ce.py).

Every solution is padded to 512 tokens and goes through the model 8 at a time, as there; logits of the whole vocabulary
are made at every place, copied when they are shifted against the labels, and the two label logits picked out of them.
Left out, in its favour, is what else it does: bfloat16 on CUDA, gradient checkpointing, DeepSpeed.

    python official.py FOLDER --batch 64 --steps 2
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from measure import Clock
from padded import BLOCK, official_loss
from transformers import AutoModelForCausalLM, AutoTokenizer

PER_FORWARD = 8


def main() -> None:
    """Trains and prints what was measured."""
    clock = Clock()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1)
    arguments = parser.parse_args()
    settings = json.loads((arguments.folder / "settings.json").read_text(encoding="utf-8"))
    solutions = json.loads((arguments.folder / "solutions.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / "model")
    model = AutoModelForCausalLM.from_pretrained(arguments.folder / "model", attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=0.0, fused=True)
    tag, good, bad = (tokenizer.encode(settings[name], add_special_tokens=False)[0] for name in ("tag", "good", "bad"))

    def train_on(chosen: list[dict], of_step: int) -> None:
        texts = [s["question"] + " " + "\n".join(step + settings["tag"] for step in s["steps"]) for s in chosen]
        encoded = [tokenizer(text)["input_ids"][:BLOCK] for text in texts]
        tags = [[place for place, token in enumerate(ids) if token == tag] for ids in encoded]
        labels = [solution["labels"][: len(places)] for solution, places in zip(chosen, tags, strict=True)]
        loss = official_loss(model, encoded, tags, labels, good, bad, tokenizer.pad_token_id)
        (loss * len(chosen) / of_step).backward()
        clock.work.add_whole([len(ids) for ids in encoded])

    def step(chosen: list[dict]) -> None:
        for first in range(0, len(chosen), PER_FORWARD):
            train_on(chosen[first : first + PER_FORWARD], len(chosen))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step(solutions[:PER_FORWARD])
    clock.start()
    for number in range(1, 1 + arguments.steps):
        step(solutions[number * arguments.batch : (number + 1) * arguments.batch])
    clock.report()


if __name__ == "__main__":
    main()
