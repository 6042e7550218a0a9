import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from erprm.estimate.flops import TokenFlops
from erprm.estimate.step_memory import BatchShape, StepNeeds, dry_step
from erprm.models import ProcessRewardModel
from erprm.models.backbone.loading import BackboneError
from erprm.models.backbone.lora import LoRA
from tests.estimate.memory_of_a_step import SHAPE
from tests.tiny import make_llama, make_tokenizer, save_tiny_llama

# Of make_llama(340): embeddings and head 2 x 340 x 32; two layers of 9,216 weights and two norms; the last norm.
PARAMETERS = 2 * 340 * 32 + 2 * (9216 + 2 * 32) + 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 20 million weights, so that they and what is kept of a batch outweigh what an allocator rounds up."""
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = make_tokenizer()
    changes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "max_position_embeddings": 1024}
    make_llama(24576, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
@pytest.mark.parametrize(
    ("settings", "accumulated"),
    [({}, 1), ({}, 2), ({"gradient_checkpointing": True}, 1), ({"lora": {"r": 8}}, 1)],
    ids=["plain", "accumulated", "gradient_checkpointing", "lora"],
)
def test_memory_is_within_15_percent_of_what_the_step_takes(
    folder: Path, settings: dict[str, Any], accumulated: int
) -> None:
    script = [sys.executable, "-m", "tests.estimate.memory_of_a_step"]
    command = [*script, str(folder), json.dumps(settings), str(accumulated)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    measured = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    if "lora" in settings:
        settings = {**settings, "lora": LoRA(**settings["lora"])}
    needs = dry_step(ProcessRewardModel(str(folder), scheduler=None, **settings), SHAPE)
    assert needs.memory(accumulates=accumulated > 1) == pytest.approx(measured, rel=0.15)


def test_weights_and_states_are_those_of_the_model_and_of_adamw(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    vocabulary = len(make_tokenizer())
    parameters = PARAMETERS + 2 * (vocabulary - 340) * 32
    needs = dry_step(ProcessRewardModel(str(folder)), BatchShape(rows=1, row_tokens=64, steps=2))
    assert needs.parameters == needs.trained == parameters
    # Weights in float32, and 4 frequencies of the rotary embedding; AdamW's two averages, and a step count a tensor.
    assert needs.weights == pytest.approx(4 * parameters, abs=64)
    assert needs.optimizer == pytest.approx(8 * parameters, abs=200)
    # A layer of 9,280 weights against embeddings and head.
    assert needs.largest_block == 4 * (2 * vocabulary * 32 + 32)


def test_only_adapters_are_trained_and_have_states(tmp_path: Path) -> None:
    module = ProcessRewardModel(str(save_tiny_llama(tmp_path)), lora=LoRA(r=4, target_modules=["q_proj"]))
    needs = dry_step(module, BatchShape(rows=1, row_tokens=64, steps=2))
    # Two layers of 32 x 4 and 4 x 32.
    assert needs.trained == 2 * 2 * 32 * 4
    assert needs.optimizer == pytest.approx(8 * needs.trained, abs=64)


def test_sharding_divides_states_and_gathers_two_blocks() -> None:
    needs = StepNeeds(
        parameters=100,
        trained=100,
        weights=400,
        optimizer=800,
        gradients=400,
        passes=1000,
        passes_onto_gradients=900,
        update=1700,
        largest_block=50,
        flops=TokenFlops(weights=1, pair=1),
    )
    assert needs.memory() == 400 + 800 + 1000
    assert needs.memory(accumulates=True) == 400 + 800 + 400 + 900
    # A quarter of weights, states and gradients, the passes, and 2 x 50 gathered: more than 1700 / 4.
    assert needs.memory(shards=4) == 1600 / 4 + 900 + 100


def test_a_model_without_a_configuration_is_named(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(BackboneError, match=str(tmp_path)):
        dry_step(ProcessRewardModel(str(tmp_path)), BatchShape(rows=1, row_tokens=64, steps=2))


def test_a_backbone_of_the_user_s_own_is_refused_rather_than_mistaken_for_another(tmp_path: Path) -> None:
    class Own(ProcessRewardModel):
        def build_backbone(self) -> Any:
            raise AssertionError("weights would be loaded")

    with pytest.raises(BackboneError, match="Own has its own build_backbone"):
        dry_step(Own(str(save_tiny_llama(tmp_path))), BatchShape(rows=1, row_tokens=64, steps=2))
