import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from erprm.data.packing import StepBatch, pack_solutions
from erprm.models import ProcessRewardModel
from erprm.steps import Solution
from tests.tiny import make_llama, make_tokenizer

SOLUTIONS = [
    Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution("What is 1?", ["Step 1: 1", "Step 2: 1", "Step 3: 15"]),
]


def batch_of(model: ProcessRewardModel, solutions: list[Solution]) -> StepBatch:
    encoded = [model.step_encoder.encode(solution) for solution in solutions]
    return pack_solutions([e.input_ids for e in encoded], [e.tag_positions for e in encoded])


def scores_and_gradients(model: ProcessRewardModel) -> tuple[list[Tensor], list[Tensor]]:
    """Of batches of three lengths, one after another."""
    scores = [model(batch_of(model, solutions)) for solutions in (SOLUTIONS, SOLUTIONS[:1], SOLUTIONS[1:])]
    torch.cat(scores).sum().backward()
    return scores, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.skipif(
    os.environ.get("ATEN_CPU_CAPABILITY") == "default", reason="torch 2.13 compiles invalid C++ with this setting"
)
def test_compiled_layers_give_the_scores_and_gradients_of_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch 2.13 takes kernels that it compiled under another ATEN_CPU_CAPABILITY or number of threads from its cache,
    # and these write out of bounds.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    tokenizer = make_tokenizer()
    make_llama(len(tokenizer), num_hidden_layers=4).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plain = ProcessRewardModel.from_pretrained(tmp_path)
    compiled = ProcessRewardModel.from_pretrained(tmp_path, compile=True)
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    found, expected = scores_and_gradients(compiled), scores_and_gradients(plain)
    for ours, theirs in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    # Far from one for each layer and batch: with and without a mask, and each again once its lengths turn out to vary.
    assert 1 <= counters["stats"]["unique_graphs"] <= 4
