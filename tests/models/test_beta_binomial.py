"""Models that learn how sure they are, steps that weigh as much as they have completions, and scores that read both."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from erprm.cli import main
from erprm.data import ProcessRewardDataModule
from erprm.data.packing import StepBatch, pack_solutions
from erprm.data.records import write_records
from erprm.errors import InputError
from erprm.estimate.step_memory import BatchShape, dry_step
from erprm.losses import step_beliefs, step_losses
from erprm.models import AdaptedRewardModel, ProcessRewardModel
from erprm.models.checkpoint_weights import load_weights
from erprm.models.identity import model_identity, scorer_identity
from erprm.models.trained_loss import note_loss, trained_loss
from erprm.models.training.global_mean import GlobalMean
from erprm.models.two_class import save_token_classifier
from erprm.rewards import belief_reward
from erprm.steps import Solution
from tests.tiny import make_record, save_tiny_llama

# One text, sampled twice. Of the completions after its first step half are right each time: a sure 0.5. After the
# second all are or none, and no text tells which: an unsure 0.5.
SURE, ALL, NONE = [1.0, 0.0] * 8, [1.0] * 16, [0.0] * 16
RECORDS = [make_record(3, [SURE, of_second, [1.0]]) for of_second in (ALL, NONE)]
SOLUTION = Solution(RECORDS[0].question, RECORDS[0].steps)


def trainer(folder: Path, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def data_module(folder: Path, records: list[Any], **settings: Any) -> ProcessRewardDataModule:
    write_records(records, folder / "r.parquet")
    file = str(folder / "r.parquet")
    settings = {"eta": 0.0, "max_tokens": 512, "cache_dir": str(folder), **settings}
    return ProcessRewardDataModule(file, validation_rollouts=file, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what training wrote: a checkpoint, and the model."""
    output = tmp_path_factory.mktemp("trained")
    model = ProcessRewardModel(
        str(folder), loss="beta_binomial", optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), scheduler=None
    )
    training = trainer(output, max_epochs=100, limit_val_batches=0)
    training.fit(model, datamodule=data_module(output, RECORDS))
    training.save_checkpoint(output / "last.ckpt")
    model.save_pretrained(output / "prm")
    return output


# Training -------------------------------------------------------------------------------------------------------------


def test_training_learns_the_mean_and_how_sure_it_is(trained: Path) -> None:
    model = ProcessRewardModel.from_pretrained(trained / "prm")
    encoded = model.step_encoder.encode(SOLUTION)
    with torch.no_grad():
        logits = model.step_logits(pack_solutions([encoded.input_ids], [encoded.tag_positions]))
    alpha, beta = step_beliefs(logits)
    assert (alpha / (alpha + beta)).tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.15)
    sure, unsure, _ = (alpha + beta).tolist()
    # Of the two likelihoods the first rises with the concentration without end, the second as it falls to 0.
    assert sure > 4 * unsure


class KnownLogits(ProcessRewardModel):
    """Logits that are a parameter, one pair for each step of a solution."""

    def __init__(self, backbone: str, logits: list[list[float]], **settings: Any) -> None:
        super().__init__(backbone, **settings)
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def step_logits(self, batch: StepBatch) -> Tensor:
        first = torch.tensor([int(batch.tag_index[batch.solution == s].min()) for s in batch.solution])
        order = (batch.tag_index > first).long()
        return self.logits[order]


def test_batches_hold_counts_if_the_module_asks_for_them(folder: Path, tmp_path: Path) -> None:
    records = [make_record(1, [[1.0, 0.0, 1.0, 1.0], [0.0, 0.0], [1.0]])]
    for settings, expected in (
        ({}, None),
        ({"weighting": "completions"}, [[3, 4], [0, 2], [1, 1]]),
        ({"loss": "beta_binomial"}, [[3, 4], [0, 2], [1, 1]]),
    ):
        model = ProcessRewardModel(str(folder), **settings)  # type: ignore[arg-type]
        data = data_module(tmp_path, records)
        data.trainer = trainer(tmp_path)
        data.trainer.strategy._lightning_module = model
        data.setup("fit")
        counts = data.train_set[0].counts
        assert (counts if counts is None else counts.tolist()) == expected


def test_a_loss_weighs_as_much_as_its_step_has_completions(tmp_path: Path) -> None:
    losses = torch.tensor([1.0, 3.0, 5.0], requires_grad=True)
    loss, mean = GlobalMean().loss(losses, trainer(tmp_path), torch.tensor([16.0, 2.0, 1.0]))
    loss.backward()
    assert mean.item() == pytest.approx((16 * 1 + 2 * 3 + 1 * 5) / 19)
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([16 / 19, 2 / 19, 1 / 19])


def test_a_training_step_takes_the_weighted_mean_of_all_its_batches(folder: Path, tmp_path: Path) -> None:
    """A step of SGD at a learning rate of 1 moves the logits by the gradient."""
    # Labels 3/4 of 4 and 1 of 1; 1/2 of 2 and 0 of 1: a solution is a batch, and both are one optimizer step.
    records = [make_record(1, [[1.0, 1.0, 1.0, 0.0], [1.0]]), make_record(2, [[1.0, 0.0], [0.0]])]
    model = KnownLogits(
        str(folder),
        [[0.0, 0.0], [math.log(3.0), 0.0]],
        weighting="completions",
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        scheduler=None,
    )
    length = max(len(model.step_encoder.encode(Solution(each.question, each.steps)).input_ids) for each in records)
    training = trainer(tmp_path, max_steps=1, accumulate_grad_batches=2)
    training.fit(model, datamodule=data_module(tmp_path, records, max_tokens=length, max_length=length))
    assert training.num_training_batches == 2
    # P(good) - label, of first steps 1/2 - 3/4 and 1/2 - 1/2, of last steps 3/4 - 1 and 3/4 - 0.
    first, last = (4 * (1 / 2 - 3 / 4) + 2 * 0) / 8, (1 * (3 / 4 - 1) + 1 * 3 / 4) / 8
    expected = [[-first, first], [math.log(3.0) - last, last]]
    torch.testing.assert_close(model.logits.detach(), torch.tensor(expected), atol=1e-6, rtol=0.0)
    # The validation loss is the same mean, of the logits after that step.
    losses = step_losses(model.logits.detach().repeat(2, 1), [0.75, 1.0, 0.5, 0.0])
    expected_loss = float(losses @ torch.tensor([4.0, 1.0, 2.0, 1.0])) / 8
    assert training.callback_metrics["val/loss"].item() == pytest.approx(expected_loss, abs=1e-6)


def test_an_optimizer_step_can_be_estimated(folder: Path) -> None:
    shape = BatchShape(rows=1, row_tokens=64, steps=2)
    needs = dry_step(ProcessRewardModel(str(folder), loss="beta_binomial", weighting="completions"), shape)
    assert needs.passes > 0


# Scores ---------------------------------------------------------------------------------------------------------------


def test_scores_are_the_value_of_the_belief(folder: Path) -> None:
    # Beta(1, 2) and Beta(1, 1): E[e^(eta p)] is 2 (e^eta - 1 - eta) / eta^2 and (e^eta - 1) / eta.
    logits = [
        [math.log(math.expm1(c)) + half, math.log(math.expm1(c)) - half] for c, half in ((3, -math.log(2) / 2), (2, 0))
    ]
    for eta in (-2.0, 3.0):
        model = KnownLogits(str(folder), logits, loss="beta_binomial", score_eta=eta)
        model.configure_model()
        assert model.backbone is not None
        note_loss(model.backbone, "beta_binomial")
        e = math.exp(eta)
        expected = [math.log(2 * (e - 1 - eta) / eta**2) / eta, math.log((e - 1) / eta) / eta]
        (scores,) = model.score_steps([Solution("What is 3?", ["3", "3"])])
        assert scores.dtype == torch.float32
        assert scores.tolist() == pytest.approx(expected, abs=1e-6)
        assert scores.tolist() == pytest.approx(belief_reward([1.0, 1.0], [2.0, 1.0], eta).tolist(), abs=1e-6)


def test_a_saved_model_remembers_that_it_says_how_sure_it_is(trained: Path, tmp_path: Path) -> None:
    assert json.loads((trained / "prm/config.json").read_text(encoding="utf-8"))["step_loss"] == "beta_binomial"
    (mean,) = ProcessRewardModel.from_pretrained(trained / "prm").score_steps([SOLUTION])
    save_token_classifier(ProcessRewardModel.from_pretrained(trained / "prm"), tmp_path / "classifier")
    for folder in (trained / "prm", tmp_path / "classifier"):
        (low,), (high,) = (
            AdaptedRewardModel.from_pretrained(folder, score_eta=eta).score_steps([SOLUTION]) for eta in (-4.0, 4.0)
        )
        assert bool((low[:2] < mean[:2]).all())
        assert bool((mean[:2] < high[:2]).all())
        # Both steps have about the same mean; of the second the model is less sure.
        assert mean[0] - low[0] < mean[1] - low[1]


def test_a_checkpoint_says_which_loss_it_was_trained_with(folder: Path, trained: Path, tmp_path: Path) -> None:
    model = ProcessRewardModel(str(folder), loss="beta_binomial", score_eta=-2.0)
    model.configure_model()
    with pytest.raises(InputError, match=r"score_eta is -2, but nothing says with which loss '.*' was trained"):
        model.score_steps([SOLUTION])
    load_weights(model, trained / "last.ckpt")
    model.eval()
    expected = ProcessRewardModel.from_pretrained(trained / "prm", score_eta=-2.0).score_steps([SOLUTION])
    torch.testing.assert_close(model.score_steps([SOLUTION]), expected, atol=1e-6, rtol=0.0)
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "step_loss": "two_way"}, tmp_path / "other.ckpt")
    load_weights(model, tmp_path / "other.ckpt")
    with pytest.raises(
        InputError, match=r"it is with loss 'two_way' that '.*' was trained: only a model .*beta_binomial"
    ):
        model.score_steps([SOLUTION])


def test_a_model_trained_on_with_another_loss_forgets(trained: Path, tmp_path: Path) -> None:
    model = ProcessRewardModel(str(trained / "prm"), scheduler=None)
    trainer(tmp_path, max_steps=1).fit(model, datamodule=data_module(tmp_path, RECORDS))
    assert trained_loss(model.backbone) == "two_way"


def test_scores_of_another_eta_are_another_scorer(trained: Path) -> None:
    plain, wary = (AdaptedRewardModel.from_pretrained(trained / "prm", score_eta=eta) for eta in (0.0, -2.0))
    assert "score_eta" not in model_identity(plain)
    assert model_identity(wary)["score_eta"] == -2.0
    assert scorer_identity(plain, "model") != scorer_identity(wary, "model")


def test_the_command_scores_under_an_eta(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "score",
        f"--model={trained / 'prm'}",
        f"--question={SOLUTION.question}",
        "--solution",
        "\n".join(SOLUTION.steps),
    ]
    assert main([*command, "--score_eta=-2"]) == 0
    (scores,) = ProcessRewardModel.from_pretrained(trained / "prm", score_eta=-2.0).score_steps([SOLUTION])
    assert f"   2  {scores[1]:.4f}  {SOLUTION.steps[1]}" in capsys.readouterr().out


def test_test_evaluates_scores_under_an_eta(folder: Path, trained: Path, tmp_path: Path) -> None:
    found = []
    for eta in (0.0, -50.0):
        model = ProcessRewardModel(str(folder), loss="beta_binomial", score_eta=eta)
        data = data_module(tmp_path, RECORDS, test_rollouts=str(tmp_path / "r.parquet"))
        (metrics,) = trainer(tmp_path).test(model, data, ckpt_path=trained / "last.ckpt", verbose=False)
        found.append(metrics)
    assert found[0]["test/loss"] == found[1]["test/loss"]
    assert found[0]["test/calibration_error"] < found[1]["test/calibration_error"]


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting": "tokens"}, r"model\.weighting is 'tokens'; it must be one of steps, completions"),
        ({"score_eta": "inf"}, r"model\.score_eta is inf; it must be finite"),
        ({"score_eta": "low"}, r"model\.score_eta is 'low'; it must be a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProcessRewardModel("nowhere", **settings)


def test_an_eta_for_a_published_model_of_another_loss_is_refused_before_weights_are_loaded(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"score_eta is 2, but nothing says with which loss '.*' was trained: only a"):
        AdaptedRewardModel(str(folder), adapter="er_prm", score_eta=2.0)


@pytest.mark.parametrize(
    ("rewards", "settings", "message"),
    [
        ([[0.5, 1.0], [1.0]], {"loss": "beta_binomial"}, r"row 0\), step 0, a completion has the reward 0\.5;"),
        ([[1.0], [1.0]], {"loss": "beta_binomial"}, "no labelled step has more than one completion"),
        ([[1.0], [1.0]], {"weighting": "completions"}, r"no labelled step .* imported .* take model\.weighting=steps"),
        ([[], [1.0, 0.0], [1.0]], {"loss": "beta_binomial"}, r"step 0, has a label but no completions, as .*bisection"),
    ],
)
def test_what_cannot_be_counted_is_refused_before_training(
    rewards: list[list[float]], settings: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    data = data_module(tmp_path, [make_record(1, rewards)], labels="hard")
    with pytest.raises(ValueError, match=rf"model\.\w+ needs counts of completions: .*{message}"):
        trainer(tmp_path, max_epochs=1).fit(ProcessRewardModel(str(folder), **settings), datamodule=data)


def test_a_batch_without_counts_is_refused(folder: Path) -> None:
    model = ProcessRewardModel(str(folder), loss="beta_binomial")
    model.configure_model()
    with pytest.raises(RuntimeError, match=r"model\.loss needs counts of completions, and the batches have none"):
        model.logits_and_losses(pack_solutions([[5, 6]], [[1]]))
