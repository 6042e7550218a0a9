"""GRPO with an advantage for each step: by hand, and in TRL's trainer."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from erprm.errors import UsageError
from erprm.reward_fn import ProcessReward
from erprm.steps import Solution
from tests.tiny import make_llama, make_tokenizer

trl = pytest.importorskip("trl", reason="needs TRL: pip install --no-deps trl==1.13.0")
step_grpo = pytest.importorskip("erprm.reward_fn.trl")

ROWS = {"prompt": ["Solve: What is 3 and 4 more?\n", "Solve: What is 5?\n"]}


class ByLength:
    """Scores each step by its number of characters."""

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return [torch.tensor([1.0 / (1.0 + len(step)) for step in each.steps]) for each in solutions]


class Counted(ByLength):
    def __init__(self) -> None:
        self.calls = 0

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.calls += 1
        return super().score_steps(solutions)


def length(completions: Sequence[str], **_: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    tokenizer = make_tokenizer()
    tokenizer.padding_side = "left"
    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 24,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 3,
    }
    return {
        "model": make_llama(len(tokenizer)),
        "args": trl.GRPOConfig(**{**arguments, **changes}),
        "train_dataset": Dataset.from_dict(ROWS),
        "processing_class": tokenizer,
    }


def test_returns_of_a_group_get_mean_0_and_deviation_1_over_all_its_steps() -> None:
    # Three steps of 1, 2 and 3 in the first group: mean 2, deviation 1. In the second all are equal.
    normalized, flat = step_grpo.normalized_returns([[1.0, 3.0], [2.0], [0.5], [0.5, 0.5]], 2)
    unit = 1.0 + 1e-4
    assert normalized == [pytest.approx([-1 / unit, 1 / unit]), pytest.approx([0.0]), [0.0], [0.0, 0.0]]
    assert flat == 0.5
    # A completion that is left out changes nothing for the others, and a group of such ones teaches nothing.
    assert step_grpo.normalized_returns([[1.0, 3.0], [], [], []], 2, scale=False) == ([[-1.0, 1.0], [], [], []], 0.5)


def test_a_token_has_the_advantage_of_its_step(tmp_path: Path) -> None:
    trainer = step_grpo.StepGRPOTrainer(
        process_reward=ProcessReward(ByLength()), form="sum", **settings(tmp_path, num_generations=2, max_steps=1)
    )
    tokenizer = trainer.processing_class
    texts = ["1 + 2 = 3.\n3 + 4 = 7.\n7", "\n"]
    ids = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in texts]
    longest = max(map(len, ids))
    ids_BT = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in ids])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    trainer.model.train()
    found_BT = trainer._step_advantages([{"prompt": "p"}] * 2, ids_BT, mask_BT)

    # Returns 1/11 + 1/11 + 1/2, 1/11 + 1/2 and 1/2; without a step, 0.
    returns = [2 / 11 + 1 / 2, 1 / 11 + 1 / 2, 1 / 2, 0.0]
    mean = sum(returns) / 4
    deviation = (sum((value - mean) ** 2 for value in returns) / 3) ** 0.5
    expected = [(value - mean) / (deviation + 1e-4) for value in returns]
    lines = [len(tokenizer.encode(text, add_special_tokens=False)) for text in ("1 + 2 = 3.\n", "3 + 4 = 7.\n")]
    for token in range(len(ids[0])):
        step = (token >= lines[0]) + (token >= sum(lines))
        assert found_BT[0, token].item() == pytest.approx(expected[step], abs=1e-5), token
    assert found_BT[1, : len(ids[1])].tolist() == pytest.approx([expected[3]] * len(ids[1]), abs=1e-5)
    metrics = trainer._metrics["train"]
    assert metrics["step_returns/frac_zero_std"] == [0.0]
    assert metrics["step_scores/lowest"] == [pytest.approx((1 / 11 + 0.0) / 2)]

    # With `mask_truncated_completions` nothing is left of the mask of a completion that was cut off.
    mask_BT[1] = 0
    alone_BT = trainer._step_advantages([{"prompt": "p"}] * 2, ids_BT, mask_BT)
    assert alone_BT[1].count_nonzero() == 0
    returns = returns[:3]
    mean, deviation = statistics.fmean(returns), statistics.stdev(returns)
    assert alone_BT[0, 0].item() == pytest.approx((returns[0] - mean) / (deviation + 1e-4), abs=1e-5)


def test_without_a_weight_of_steps_it_is_trls_trainer(tmp_path: Path) -> None:
    plain = trl.GRPOTrainer(reward_funcs=length, **settings(tmp_path / "plain"))
    plain.train()
    stepped = step_grpo.StepGRPOTrainer(
        process_reward=ProcessReward(ByLength()),
        process_weight=0.0,
        reward_funcs=length,
        **settings(tmp_path / "steps"),
    )
    stepped.train()
    for name, weight in plain.model.state_dict().items():
        torch.testing.assert_close(stepped.model.state_dict()[name], weight, rtol=0.0, atol=1e-6)


def test_without_outcomes_the_steps_are_scored_once(tmp_path: Path) -> None:
    scorer = Counted()
    step_grpo.StepGRPOTrainer(process_reward=ProcessReward(scorer), **settings(tmp_path)).train()
    assert scorer.calls == 2  # of two optimizer steps


@pytest.mark.parametrize("form", ["sum", "min", "difference"])
def test_it_trains_with_steps_and_outcomes(form: str, tmp_path: Path) -> None:
    trainer = step_grpo.StepGRPOTrainer(
        process_reward=ProcessReward(ByLength()), form=form, reward_funcs=length, **settings(tmp_path)
    )
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())
    logs = [entry for entry in trainer.state.log_history if "step_scores/lowest" in entry]
    assert len(logs) == 2
    assert all(0.0 <= entry["step_returns/frac_zero_std"] <= 1.0 for entry in logs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "max"}, "form is 'max'; it must be one of sum, min, difference"),
        ({"process_weight": -1.0}, "process_weight is -1.0; it must be at least 0, and finite"),
        ({"outcome_weight": float("nan"), "reward_funcs": length}, "outcome_weight is nan"),
        ({"process_weight": 0.0}, "process_weight is 0, and no reward_funcs have a weight"),
        ({"tools": [length]}, "tools: steps are those of a completion"),
    ],
)
def test_what_does_not_go_with_steps_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        step_grpo.StepGRPOTrainer(process_reward=ProcessReward(ByLength()), **settings(tmp_path), **changes)


def test_a_trl_that_is_not_tested_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl, "__version__", "2.0.0")
    with pytest.raises(UsageError, match=r"tested with TRL 1.13.\*, found 2.0.0"):
        step_grpo.StepGRPOTrainer(process_reward=ProcessReward(ByLength()), **settings(tmp_path))
