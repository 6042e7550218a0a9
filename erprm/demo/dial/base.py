"""The base model that policy and reward models start from, taught to solve problems and to check solutions.

It stands in for a pretrained model, which has read worked solutions and corrections of wrong ones. It learns from

- problems with their solutions;
- problems with solutions in which a share of the steps is wrong and a tag follows each step. At the tag it learns the
  word that judges the step, `` right`` or `` wrong``; in the place of a wrong result it learns the right one;
- drills: single lines of such solutions. Checking is learned in a jump, and drills bring the jump forward.

Reward models see the very same layout, but give their verdict in two label tokens that the base has never used for it:
what they learn from rollouts is to speak of what the base can already see, as with a real pretrained model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from erprm.data.packing import pack_rows
from erprm.data.policy import PolicyBatch
from erprm.demo.dial.problems import DialStep, Mistakes, random_problem, solution_text, solve
from erprm.demo.dial.recipe import DialRecipe
from erprm.demo.dial.tokenizer import END, RIGHT, STEP_FORMAT, WRONG, make_tokenizer
from erprm.models import PolicyModel
from erprm.models.logits import logits_at

_WRONG_SHARE = 0.3
_ROW_TOKENS = 128
# What is hard to learn counts for more.
_MARK_WEIGHT, _RESULT_WEIGHT = 4.0, 3.0
_NOT_LEARNED = -1

# A text in pieces: what is read, and what is learned in its place, of as many tokens; None for nothing.
Pieces = list[tuple[str, str | None]]


def save_random_model(folder: Path, recipe: DialRecipe, seed: int) -> None:
    """Writes an untrained Llama and the tokenizer as a Hugging Face folder."""
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=256 * recipe.width // 96,
        num_hidden_layers=recipe.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class BaseTexts(Dataset[PolicyBatch]):
    """Batches of base texts; batch ``i`` is always the same one."""

    def __init__(self, recipe: DialRecipe, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        """Takes the sizes and the seed."""
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.seed = seed

    def __len__(self) -> int:
        return self.recipe.base_steps

    def __getitem__(self, index: int) -> PolicyBatch:
        rng = random.Random(f"base {self.seed} {index}")
        if index < self.recipe.base_drill_steps:
            return self._batch([drill(rng, longest=1) for _ in range(192)])
        return self._batch(
            [solved_problem(rng) for _ in range(8)]
            + [checked_problem(rng) for _ in range(16)]
            + [drill(rng, longest=6) for _ in range(32)]
        )

    def _batch(self, texts: Sequence[Pieces]) -> PolicyBatch:
        tokens = [self._token_ids([read for read, _ in text]) for text in texts]
        learned = [
            self._token_ids([read if target is None else target for read, target in text], [t is None for _, t in text])
            for text in texts
        ]
        rows, paths = pack_rows(tokens, _ROW_TOKENS)
        # What is learned in the place of a token is learned one place earlier.
        places = [np.flatnonzero(np.array(targets[1:]) != _NOT_LEARNED) for targets in learned]
        return PolicyBatch(
            **vars(rows),
            predict_index=torch.from_numpy(np.concatenate([path[p] for path, p in zip(paths, places, strict=True)])),
            targets=torch.tensor([t[1 + place] for t, p in zip(learned, places, strict=True) for place in p]),
        )

    def _token_ids(self, pieces: list[str], hidden: list[bool] | None = None) -> list[int]:
        """Tokens of pieces, one after another; those of a hidden piece are ``_NOT_LEARNED``."""
        ids_of_piece = self.tokenizer(pieces)["input_ids"]
        hidden = hidden or [False] * len(pieces)
        return [
            _NOT_LEARNED if hide else token for ids, hide in zip(ids_of_piece, hidden, strict=True) for token in ids
        ]


def solved_problem(rng: random.Random) -> Pieces:
    """A problem and its right solution; the solution is learned."""
    problem = random_problem(rng)
    solution = "\n" + solution_text(solve(problem, rng)) + END
    return [(problem.question, None), (solution, solution)]


def checked_problem(rng: random.Random) -> Pieces:
    """A problem and a solution with wrong steps, a tag after each; what is learned are the lines and the judgements."""
    problem = random_problem(rng)
    steps = solve(problem, rng, Mistakes(slip_rate=_WRONG_SHARE))
    question = STEP_FORMAT.question_template.replace("{question}", problem.question)
    return [(question, None), *_judged_lines(steps, learn_left=True, closing=f"\n#### {steps[-1].result}")]


def drill(rng: random.Random, longest: int) -> Pieces:
    """Lines with no problem, a tag after each; what is learned are results and judgements."""
    steps = solve(random_problem(rng, 1, longest), rng, Mistakes(slip_rate=_WRONG_SHARE))
    return _judged_lines(steps, learn_left=False, closing="")


def _judged_lines(steps: list[DialStep], *, learn_left: bool, closing: str) -> Pieces:
    pieces: Pieces = [("\n", None)]
    for number, step in enumerate(steps, 1):
        left, result = step.text[:-2], step.text[-2:]
        pieces += [(left, left if learn_left else None), (result, f" {step.right_result}")]
        is_last = number == len(steps)
        if is_last and closing:
            pieces.append((closing, closing))
        # The judgement is learned at the tag, in the place of what follows it.
        pieces += [(STEP_FORMAT.tag, None), (END if is_last else "\n", RIGHT if step.is_right else WRONG)]
    return pieces


class BaseModel(PolicyModel):
    """The base model in training: a policy whose loss weighs judgements and results higher than words."""

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Weighted mean cross-entropy of the learned tokens."""
        assert self.backbone is not None
        logits_SV = logits_at(self.backbone, batch, batch.predict_index, attention=self.attn_implementation)
        losses_S = F.cross_entropy(logits_SV, batch.targets, reduction="none")
        weights_S = self.target_weights[batch.targets]
        return (losses_S * weights_S).sum() / weights_S.sum()

    @property
    def target_weights(self) -> Tensor:
        """Weight of each token as a target ``[V]``."""
        weights = torch.ones(len(self.tokenizer))
        weights[[self.tokenizer.convert_tokens_to_ids(mark) for mark in (RIGHT, WRONG)]] = _MARK_WEIGHT
        weights[[self.tokenizer.convert_tokens_to_ids(f" {digit}") for digit in range(10)]] = _RESULT_WEIGHT
        return weights


class BaseDataModule(L.LightningDataModule):
    """The base texts, for the tokenizer of the model being trained."""

    def __init__(self, recipe: DialRecipe, seed: int) -> None:
        """Takes the sizes and the seed."""
        super().__init__()
        self.recipe = recipe
        self.seed = seed

    def train_dataloader(self) -> Any:
        """The batches in their order."""
        assert self.trainer is not None
        model = self.trainer.lightning_module
        assert isinstance(model, BaseModel)
        return DataLoader(BaseTexts(self.recipe, model.tokenizer, self.seed), batch_size=None)
