"""The base model that policy and reward models start from, taught to solve problems and to check solutions.

It stands in for a pretrained model, which has read worked solutions and corrections of wrong ones. Its texts are

- problems with their solutions;
- problems with solutions in which a share of the steps is wrong, each step followed by a word that judges it:
  ``The dial is at 3. Push it 4. Where is it? Check it.⏎3 + 4 = 8 ки wrong⏎8 ...``;
- drills: lines of such solutions alone. Checking is learned in a jump, and single lines bring the jump forward.

A wrong result is read but never learned, and so is the tag: no policy that comes from the base writes either.
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
from erprm.demo.recipe import Recipe
from erprm.demo.tokenizer import RIGHT, STEP_FORMAT, WRONG, make_tokenizer
from erprm.demo.world import DialStep, Mistakes, random_problem, solution_text, solve
from erprm.models import PolicyModel
from erprm.models.backbone import logits_at

_WRONG_SHARE = 0.3
_ROW_TOKENS = 128
# What is hard to learn counts for more.
_MARK_WEIGHT, _RESULT_WEIGHT = 4.0, 3.0

# A text in pieces, each with whether its tokens are learned.
Pieces = list[tuple[str, bool]]


def save_random_model(folder: Path, recipe: Recipe, seed: int) -> None:
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

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
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
            [solved_problem(rng, str(self.tokenizer.eos_token)) for _ in range(8)]
            + [checked_problem(rng) for _ in range(16)]
            + [drill(rng, longest=6) for _ in range(32)]
        )

    def _batch(self, texts: Sequence[Pieces]) -> PolicyBatch:
        ids_of_piece = iter(self.tokenizer([piece for text in texts for piece, _ in text])["input_ids"])
        tokens: list[list[int]] = []
        learned: list[list[bool]] = []
        for text in texts:
            pieces = [(next(ids_of_piece), is_learned) for _, is_learned in text]
            tokens.append([token for ids, _ in pieces for token in ids])
            learned.append([is_learned for ids, is_learned in pieces for _ in ids])
        input_ids, position_ids, starts = pack_rows(tokens, _ROW_TOKENS)
        predict = [start + np.flatnonzero(text[1:]) for start, text in zip(starts, learned, strict=True)]
        predict_index = torch.from_numpy(np.concatenate(predict))
        return PolicyBatch(input_ids, position_ids, predict_index, input_ids.flatten()[predict_index + 1])


def solved_problem(rng: random.Random, end: str) -> Pieces:
    """A problem and its right solution; the solution is learned."""
    problem = random_problem(rng)
    return [(problem.question, False), ("\n" + solution_text(solve(problem, rng)) + end, True)]


def checked_problem(rng: random.Random) -> Pieces:
    """A problem and a solution with wrong steps, each judged; all of it is learned but wrong results and tags."""
    problem = random_problem(rng)
    steps = solve(problem, rng, Mistakes(slip_rate=_WRONG_SHARE))
    pieces: Pieces = [(STEP_FORMAT.question_template.replace("{question}", problem.question), False)]
    for step in steps[:-1]:
        pieces += [("\n", False), *_judged(step, "")]
    return [*pieces, ("\n", False), *_judged(steps[-1], f"\n#### {steps[-1].result}")]


def drill(rng: random.Random, longest: int) -> Pieces:
    """Judged lines with no problem; only right results and the judgements are learned."""
    steps = solve(random_problem(rng, 1, longest), rng, Mistakes(slip_rate=_WRONG_SHARE))
    return [piece for step in steps for piece in [("\n", False), *_judged(step, "", learn_left=False)]]


def _judged(step: DialStep, closing: str, learn_left: bool = True) -> Pieces:
    left, result = step.text[:-2], step.text[-2:]
    mark = RIGHT if step.is_right else WRONG
    pieces: Pieces = [(left, learn_left), (result, step.is_right)]
    return [*pieces, *([(closing, learn_left)] if closing else []), (STEP_FORMAT.tag, False), (mark, True)]


class BaseModel(PolicyModel):
    """The base model in training: a policy whose loss weighs judgements and results higher than words."""

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Weighted mean cross-entropy of the learned tokens."""
        assert self.backbone is not None
        logits_SV = logits_at(self.backbone, batch.input_ids, batch.position_ids, batch.predict_index)
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

    def __init__(self, recipe: Recipe, seed: int) -> None:
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
