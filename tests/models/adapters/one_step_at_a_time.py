"""Scores as each project computes them: a text for every step, one forward for each, its logits at one place.

Written after the published code: the README of hanningzhang/ER-PRM (at 5a996d4), the model card of
peiyi9979/math-shepherd-mistral-7b-prm, math-rm/prm_evaluate.py of RLHFlow/RLHF-Reward-Modeling (at 5b2a281), the model
card of Qwen/Qwen2.5-Math-PRM-7B, and `tokenize_row` of TRL's PRMTrainer (1.13).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from torch import Tensor

transformers_: Any = transformers
Scores = Callable[[str, Sequence[str]], list[float]]


def tag_scores(folder: Path, text_of: Callable[[str, Sequence[str]], str]) -> Scores:
    """ER-PRM and Math-Shepherd: the tokens " +" and " -" at the tag that ends the text."""
    tokenizer = transformers_.AutoTokenizer.from_pretrained(folder)
    model = transformers_.AutoModelForCausalLM.from_pretrained(folder).eval()
    tag, *labels = (tokenizer.encode(text)[-1] for text in (" ки", " +", " -"))

    def score(question: str, steps: Sequence[str]) -> float:
        ids = tokenizer.encode(text_of(question, steps))
        assert ids[-1] == tag
        assert ids.count(tag) == len(steps)
        return share(model(torch.tensor([ids])).logits[0, -1, labels])

    return every_prefix(score)


def er_prm(folder: Path) -> Scores:
    return tag_scores(folder, lambda question, steps: tagged(question, steps).replace(" ки\n", " ки"))


def math_shepherd(folder: Path) -> Scores:
    return tag_scores(folder, tagged)


def tagged(question: str, steps: Sequence[str]) -> str:
    return question + " " + "\n".join(f"{step} ки" for step in steps)


def rlhflow(folder: Path) -> Scores:
    tokenizer = transformers_.AutoTokenizer.from_pretrained(folder)
    model = transformers_.AutoModelForCausalLM.from_pretrained(folder).eval()
    labels = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]

    def score(question: str, steps: Sequence[str]) -> float:
        conversation = []
        for number, step in enumerate(steps):
            content = step.strip() if number else f"{question} {step.strip()}"
            conversation += [{"role": "user", "content": content}, {"role": "assistant", "content": "+"}]
        ids = tokenizer.apply_chat_template(conversation, return_dict=False)
        # "+" and the end of the turn come after it.
        return share(model(torch.tensor([ids])).logits[0, -3, labels])

    return every_prefix(score)


SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


def qwen_prm(folder: Path) -> Scores:
    tokenizer = transformers_.AutoTokenizer.from_pretrained(folder)
    model = transformers_.Qwen2Model.from_pretrained(folder).eval()
    head = load_file(folder / "model.safetensors")
    tag = tokenizer.encode("<extra_0>")[0]

    def score(question: str, steps: Sequence[str]) -> float:
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ]
        ids = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False))
        place = max(place for place, token in enumerate(ids) if token == tag)
        hidden = model(torch.tensor([ids])).last_hidden_state[0, place]
        hidden = F.relu(F.linear(hidden, head["score.0.weight"], head["score.0.bias"]))
        return share(F.linear(hidden, head["score.2.weight"], head["score.2.bias"])[[1, 0]])

    return every_prefix(score)


def trl(folder: Path) -> Scores:
    tokenizer = transformers_.AutoTokenizer.from_pretrained(folder)
    model = transformers_.AutoModelForTokenClassification.from_pretrained(folder).eval()

    def score(question: str, steps: Sequence[str]) -> float:
        ids = [tokenizer.bos_token_id, *tokenizer(question, add_special_tokens=False)["input_ids"]]
        for step in steps:
            ids += tokenizer(step, add_special_tokens=False)["input_ids"]
            ids += tokenizer.encode("\n", add_special_tokens=False)
        return share(model(torch.tensor([ids])).logits[0, -1, [1, 0]])

    return every_prefix(score)


def share(good_and_bad: Tensor) -> float:
    return float(good_and_bad.double().softmax(-1)[0])


def every_prefix(score: Callable[[str, Sequence[str]], float]) -> Scores:
    def scores(question: str, steps: Sequence[str]) -> list[float]:
        with torch.no_grad():
            return [score(question, steps[:count]) for count in range(1, len(steps) + 1)]

    return scores


REFERENCES: dict[str, Callable[[Path], Scores]] = {
    "er_prm": er_prm,
    "math_shepherd": math_shepherd,
    "rlhflow": rlhflow,
    "qwen_prm": qwen_prm,
    "trl": trl,
}
