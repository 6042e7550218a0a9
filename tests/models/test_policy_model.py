"""Importance weights of the policy's losses."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from erprm.data.policy import PackedSamples, PolicySample
from erprm.models.logits import logits_at
from erprm.models.policy import PolicyModel, importance_weights
from tests.tiny import make_llama


def test_a_weight_is_the_ratio_of_probabilities_up_to_the_cap() -> None:
    # 0.5 now and 0.25 then; the same; 0.2 and 0.4; 0.9 and 0.1, which is 9; and so much that it overflows.
    losses = torch.tensor([-math.log(0.5), 1.0, -math.log(0.2), -math.log(0.9), 0.0], requires_grad=True)
    then = torch.tensor([math.log(0.25), -1.0, math.log(0.4), math.log(0.1), -1e4])
    weights = importance_weights(losses, then, 3.0)
    assert weights.tolist() == pytest.approx([2.0, 1.0, 0.5, 3.0, 3.0])
    assert not weights.requires_grad
    assert importance_weights(losses, then, 1.0).tolist() == pytest.approx([1.0, 1.0, 0.5, 1.0, 1.0])


def step(model: PolicyModel, batch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loss of a batch, without a trainer."""
    monkeypatch.setattr(model, "mean_loss", lambda losses_S: (losses_S.mean(), losses_S.mean()))
    monkeypatch.setattr(model, "log", lambda *_args, **_more: None)
    return model.training_step(batch, 0)


def test_the_loss_of_a_token_counts_by_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PolicyModel("nowhere", importance_cap=2.0)
    model.backbone = make_llama(50)
    batch = PackedSamples([PolicySample([5, 6, 7, 8], 2, "a")])[[0]]
    logits = logits_at(model.backbone, batch, batch.predict_index)
    losses = F.cross_entropy(logits, batch.targets, reduction="none").tolist()
    # The first token is half as likely as it was, the second ten times as likely.
    then = [-losses[0] + math.log(2.0), -losses[1] - math.log(10.0)]
    batch.log_probs = torch.tensor(then)
    found = step(model, batch, monkeypatch)
    assert found.item() == pytest.approx((0.5 * losses[0] + 2.0 * losses[1]) / 2, rel=1e-5)
    unweighted = PolicyModel("nowhere")
    unweighted.backbone = model.backbone
    assert step(unweighted, batch, monkeypatch).item() == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_weights_without_the_probabilities_of_sampling_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PolicyModel("nowhere", importance_cap=2.0)
    model.backbone = make_llama(50)
    batch = PackedSamples([PolicySample([5, 6, 7, 8], 2, "a")])[[0]]
    with pytest.raises(ValueError, match=r"model\.importance_cap is 2\.0, and the samples have no field 'log_probs'"):
        step(model, batch, monkeypatch)


@pytest.mark.parametrize("cap", [0.5, math.inf, math.nan])
def test_a_cap_that_cannot_be_is_named(cap: float) -> None:
    with pytest.raises(ValueError, match=f"importance_cap is {cap}; it must be null or a finite number of at least 1"):
        PolicyModel("nowhere", importance_cap=cap)
