import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from erprm.data.policy import PackedSamples, PolicyBatch, PolicyDataModule, PolicySample, load_policy_samples
from erprm.steps import StepEncoder
from tests.tiny import make_llama, make_tokenizer


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SAMPLES = [PolicySample([10, 11, 12, 13, 14], 2, "a"), PolicySample([20, 21, 22], 1, "b")]


def test_the_loss_is_on_completion_tokens_alone() -> None:
    batch = PackedSamples(SAMPLES)[[0, 1]]
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14, 20, 21, 22]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    # The last prompt token of each predicts the first completion token; nothing predicts the next sample's prompt.
    assert batch.predict_index.tolist() == [1, 2, 3, 5, 6]
    assert batch.targets.tolist() == [12, 13, 14, 21, 22]
    assert batch.record_ids == ["a", "b"]


def test_places_are_in_the_flattened_rows() -> None:
    batch = PackedSamples(SAMPLES, row_tokens=5)[[1, 0]]
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14], [20, 21, 22, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]
    assert batch.predict_index.tolist() == [5, 6, 1, 2, 3]
    assert batch.targets.tolist() == [21, 22, 12, 13, 14]
    assert batch.record_ids == ["b", "a"]


def test_the_packed_loss_is_that_of_separate_forwards() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer)).double()
    batch = PackedSamples(SAMPLES)[[0, 1]]
    with torch.no_grad():
        packed = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits[0]
        losses = nn.functional.cross_entropy(packed[batch.predict_index], batch.targets, reduction="none")
        expected: list[Tensor] = []
        for sample in SAMPLES:
            log_probs = model(torch.tensor([sample.input_ids])).logits[0].log_softmax(-1)
            expected += [
                -log_probs[place - 1, sample.input_ids[place]]
                for place in range(sample.prompt_length, len(sample.input_ids))
            ]
    torch.testing.assert_close(losses, torch.stack(expected), rtol=0, atol=1e-12)


def test_a_sample_is_prompt_completion_and_end_of_sequence(encoder: StepEncoder, tmp_path: Path) -> None:
    tokenizer = encoder.tokenizer
    path = write(tmp_path / "s.jsonl", {"prompt": "What is 3?\n", "completion": "Step 1: 3", "more": 1})
    prompt, completion = tokenizer.encode("What is 3?\n"), tokenizer.encode("Step 1: 3")
    assert load_policy_samples(path, tokenizer, 100) == [
        PolicySample([*prompt, *completion, tokenizer.eos_token_id], len(prompt), f"{path}, line 1")
    ]


def test_samples_that_are_too_long_are_left_out_and_counted(encoder: StepEncoder, tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", *({"prompt": "x", "completion": "abcdefgh"[:n]} for n in (8, 2, 3)))
    # Prompt, two letters and the end are four tokens: the tokenizer has no merges for these letters.
    with pytest.warns(UserWarning, match=r"s\.jsonl: 2 of 3 sample\(s\) exceed max_length=4"):
        (kept,) = load_policy_samples(path, encoder.tokenizer, 4)
    assert len(kept.input_ids) == 4
    assert kept.name == f"{path}, line 2"
    with pytest.raises(ValueError, match=r"s\.jsonl: none of 3 sample\(s\) fits max_length=3"):
        load_policy_samples(path, encoder.tokenizer, 3)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"completion": "a"}, "field 'prompt' is None; expected a text that is not empty, or ids of tokens"),
        (
            {"prompt": "a", "completion": ""},
            "field 'completion' is ''; expected a text that is not empty, or ids of tokens",
        ),
        (
            {"prompt": ["a"], "completion": "b"},
            "field 'prompt' is ['a']; expected a text that is not empty, or ids of tokens",
        ),
    ],
)
def test_a_bad_row_is_named(encoder: StepEncoder, tmp_path: Path, bad: dict[str, Any], complaint: str) -> None:
    path = write(tmp_path / "s.jsonl", {"prompt": "a", "completion": "b"}, bad)
    with pytest.raises(ValueError, match="line 2") as error:
        load_policy_samples(path, encoder.tokenizer, 100)
    assert str(error.value) == f"{path}, line 2: {complaint}"


def test_log_probs_of_sampling_stand_beside_their_tokens(encoder: StepEncoder, tmp_path: Path) -> None:
    rows = [
        {"prompt": [5], "completion": [6, 7], "log_probs": [-0.5, 0]},
        {"prompt": [5, 6], "completion": [8], "log_probs": [-2.0]},
    ]
    samples = load_policy_samples(write(tmp_path / "s.jsonl", *rows), encoder.tokenizer, 100)
    batch = PackedSamples(samples)[[1, 0]]
    assert batch.targets.tolist() == [8, 6, 7]
    assert batch.log_probs is not None
    assert batch.log_probs.tolist() == [-2.0, -0.5, 0.0]
    assert PackedSamples(SAMPLES)[[0, 1]].log_probs is None


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ([-0.5], "is 1 values; expected a finite number of at most 0 for each of the 2 token(s) of the completion"),
        ([-0.5, 0.1], "is [-0.5, 0.1]; expected a finite number of at most 0"),
        ([-0.5, "x"], "is [-0.5, 'x']; expected a finite number of at most 0"),
        (None, "is None; expected a finite number of at most 0 for each of the 2 token(s)"),
    ],
)
def test_log_probs_that_are_not_those_of_the_tokens_are_named(
    encoder: StepEncoder, tmp_path: Path, found: Any, complaint: str
) -> None:
    rows = [{"prompt": [5], "completion": [6], "log_probs": [-1]}, {"prompt": [5], "completion": [6, 7]}]
    if found is not None:
        rows[1]["log_probs"] = found
    with pytest.raises(ValueError, match="line 2: field 'log_probs' is") as error:
        load_policy_samples(write(tmp_path / "s.jsonl", *rows), encoder.tokenizer, 100)
    assert complaint in str(error.value)


def test_a_file_that_is_missing_or_empty_is_named(encoder: StepEncoder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"policy data: '.*nowhere\.jsonl' does not exist"):
        load_policy_samples(tmp_path / "nowhere.jsonl", encoder.tokenizer, 100)
    with pytest.raises(ValueError, match=r"s\.jsonl: holds no sample"):
        load_policy_samples(write(tmp_path / "s.jsonl"), encoder.tokenizer, 100)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no end-of-sequence token to close completions with"):
        load_policy_samples(write(tmp_path / "s.jsonl", {"prompt": "a", "completion": "b"}), tokenizer, 100)


def test_limits_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match=r"data\.max_length is 1024; it must be in \[1, data\.max_tokens=100\]"):
        PolicyDataModule("nowhere.jsonl", max_tokens=100)


def test_the_module_being_trained_sees_every_sample_once_an_epoch(tmp_path: Path) -> None:
    class Recorder(L.LightningModule):
        def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
            super().__init__()
            self.tokenizer = tokenizer
            self.weight = nn.Parameter(torch.zeros(()))
            self.seen: dict[int, list[str]] = {}

        def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
            assert batch.input_ids.numel() <= 40
            self.seen.setdefault(self.current_epoch, []).extend(batch.record_ids)
            return self.weight

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    path = write(tmp_path / "s.jsonl", *({"prompt": f"{i}?", "completion": f"is {i}"} for i in range(20)))
    module = Recorder(make_tokenizer())
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=PolicyDataModule(str(path), max_tokens=40, max_length=40))
    names = [f"{path}, line {i}" for i in range(1, 21)]
    assert sorted(module.seen[0]) == sorted(module.seen[1]) == sorted(names)
    assert module.seen[0] != module.seen[1]


def test_token_ids_are_taken_as_they_are(encoder: StepEncoder, tmp_path: Path) -> None:
    tokenizer = encoder.tokenizer
    rows: list[dict[str, Any]] = [{"prompt": [7, 8], "completion": [9, 10, 11]}, {"prompt": "x", "completion": [9]}]
    rows += [{"prompt": [7], "completion": "y"}]
    path = write(tmp_path / "s.jsonl", *rows)
    x, y = tokenizer.encode("x"), tokenizer.encode("y")
    assert [(sample.input_ids, sample.prompt_length) for sample in load_policy_samples(path, tokenizer, 100)] == [
        ([7, 8, 9, 10, 11], 2),
        ([*x, 9], len(x)),
        ([7, *y, tokenizer.eos_token_id], 1),
    ]
    for wrong in ([], [len(tokenizer)], [-1], [True], [1.0]):
        with pytest.raises(ValueError, match=r"line 1: field .completion. is .*; expected a text .*, or ids of tokens"):
            load_policy_samples(write(path, {"prompt": "x", "completion": wrong}), tokenizer, 100)
