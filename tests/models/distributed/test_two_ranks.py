"""Two processes on a CPU do what one does: DDP and FSDP2, by ``tests/two_ranks.py``."""

import json
import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.filesystem import FileSystemReader

from erprm.callbacks import BestOfN
from erprm.cli import main
from erprm.data.packing import StepBatch
from erprm.data.records import write_records
from erprm.models import LoRA, PolicyModel, ProcessRewardModel
from erprm.steps import StepFormat
from tests.conftest import REPOSITORY
from tests.models.attention.test_trees import SIZES
from tests.tiny import make_llama, make_record, make_tokenizer
from tests.two_ranks import (
    ARCHITECTURES,
    CLIP,
    LEARNING_RATE,
    SOLUTIONS,
    STEPS,
    build_data,
    build_model,
    run_test,
)

ADDED = StepFormat(add_tokens=True)


def make_folder(folder: Path) -> None:
    """Backbones, records of 1 to 5 steps, and a pool of 2 to 4 candidates a problem."""
    tokenizer = make_tokenizer()
    # An odd number of rows, which two processes cannot share out evenly.
    make_llama(len(tokenizer) + 1).save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    for name in ARCHITECTURES:
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **SIZES)
        getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder / name, max_shard_size="30KB")
        tokenizer.save_pretrained(folder / name)
    # Tied embeddings, in several files, and a tokenizer that lacks the tag and the labels.
    without_tags = make_tokenizer(with_tags=False)
    tied = make_llama(len(without_tags), tie_word_embeddings=True)
    tied.save_pretrained(folder / "tied", max_shard_size="30KB")
    without_tags.save_pretrained(folder / "tied")
    # Weights under names that transformers understands and that are not those of the parameters.
    make_llama(len(tokenizer), tie_word_embeddings=True).save_pretrained(folder / "renamed")
    tokenizer.save_pretrained(folder / "renamed")
    weights = load_file(folder / "renamed/model.safetensors")
    old = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    save_file(old, folder / "renamed/model.safetensors", metadata={"format": "pt"})

    records = [
        make_record(i, [[float((i + j + k) % 3 == 0) for k in range(4)] for j in range(i % 5)] + [[float(i % 2)]])
        for i in range(60)
    ]
    write_records(records, folder / "rollouts.parquet")
    pool = [
        {
            "question": f"What is {i} and 4 more?",
            "answer": str(i + 4),
            "candidates": [f"{i} + 4 = {n}.\n" * (n % 3) + f"#### {n}" for n in range(2, 4 + i % 3)],
        }
        for i in range(7)
    ]
    samples = [{"prompt": f"What is {i}?\n", "completion": f"{i} = {i}.\n" * (1 + i % 3)} for i in range(40)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    make_folder(folder)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    """What each of the two processes tells."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    elastic = {"TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    started = []
    for rank in range(2):
        log = (folder / f"rank{rank}.log").open("w")
        environment = {**os.environ, **common, **elastic, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "tests.two_ranks", str(folder)]
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log))
    try:
        codes = [process.wait(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], "\n".join((folder / f"rank{r}.log").read_text()[-3000:] for r in range(2))
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def plain_losses(folder: Path, records: list[list[str]], backbone: str = "lm", **settings: Any) -> list[float]:
    """Training without Lightning: one batch of all the records of a step, mean loss, clipped, AdamW."""
    torch.manual_seed(0)
    model = build_model(folder / backbone, **settings)
    model.configure_model()
    data = build_data(folder)
    data._step_encoder = model.step_encoder
    data.setup("fit")
    place_of = {int(data.train_set.rollouts.row[i]): place for place, i in enumerate(data.train_set.members)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    losses = []
    model.train()
    for names in records:
        rows = [int(re.findall(r"\(row (\d+)\)", name)[0]) for name in names]
        batch: StepBatch = data.train_set[[place_of[row] for row in rows]]
        logits_S2 = model.step_logits(batch)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits_S2[:, 0] - logits_S2[:, 1], batch.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "fsdp1"])
def test_losses_of_twenty_steps_are_those_of_one_process_with_the_same_batches(
    strategy: str, ranks: list[dict[str, Any]], folder: Path
) -> None:
    losses = [rank[strategy]["losses"] for rank in ranks]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS
    together = [a + b for a, b in zip(*(rank[strategy]["records"] for rank in ranks), strict=True)]
    assert losses[0] == pytest.approx(plain_losses(folder, together), abs=1e-4)
    # The loss must have somewhere to go.
    assert losses[0][0] - min(losses[0]) > 0.05


def test_accumulated_batches_count_by_their_steps(ranks: list[dict[str, Any]], folder: Path) -> None:
    records = [rank["accumulated"]["records"] for rank in ranks]
    assert [len(batches) for batches in records] == [8, 8]
    together = [
        [*a, *b, *c, *d] for a, b, c, d in zip(*(rank[half::2] for rank in records for half in (0, 1)), strict=True)
    ]
    expected = plain_losses(folder, together)
    # A batch's loss is that of its own steps; of the steps of two batches it is a mean weighted by their numbers.
    sizes = [steps_of(records[0][i] + records[1][i]) for i in range(8)]
    logged = ranks[0]["accumulated"]["losses"]
    means = [(sizes[i] * logged[i] + sizes[i + 1] * logged[i + 1]) / (sizes[i] + sizes[i + 1]) for i in range(0, 8, 2)]
    assert len(set(sizes)) > 1
    assert means == pytest.approx(expected, abs=1e-4)


def test_throughput_is_that_of_both_processes_together(ranks: list[dict[str, Any]]) -> None:
    told = [rank["throughput"] for rank in ranks]
    assert told[0]["metrics"] == told[1]["metrics"]
    rates = {name.removeprefix("throughput/"): value for name, value in told[0]["metrics"].items()}
    solutions = [sum(len(names) for names in rank["records"][1:5]) for rank in told]
    # Each process has a clock of its own. Whatever they say, solutions a step lie between the double of either's, and
    # half of that, which one process alone would make, does not.
    assert max(solutions) < 2 * min(solutions)
    solutions_a_step = rates["solutions_per_s"] / rates["steps_per_s"]
    assert 2 * min(solutions) / 4 - 1e-3 <= solutions_a_step <= 2 * max(solutions) / 4 + 1e-3
    # A solution of this data is of some 25 to 120 tokens, on whichever process.
    assert 25 < rates["tokens_per_s"] / rates["solutions_per_s"] < 120


def steps_of(names: list[str]) -> int:
    return sum(int(re.findall(r"\(row (\d+)\)", name)[0]) % 5 + 1 for name in names)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "fsdp1"])
def test_validation_and_best_of_n_give_the_numbers_of_one_process(
    strategy: str, ranks: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    metrics = ranks[0][strategy]["metrics"]
    assert metrics == ranks[1][strategy]["metrics"]
    # One process, on the weights that the two have written.
    best_of_n = BestOfN(str(folder / "pool.jsonl"), name="pool", kind="gsm8k")
    trainer = L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[best_of_n], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.validate(build_model(folder / strategy), build_data(folder), verbose=False)
    alone = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {name for name in metrics if name.startswith("pool/bon@")} >= {"pool/bon@1", "pool/bon@2"}
    assert {name: metrics[name] for name in alone} == pytest.approx(alone, abs=1e-6)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "fsdp1"])
@pytest.mark.usefixtures("ranks")
def test_the_results_that_test_writes_are_those_of_one_process(strategy: str, folder: Path, tmp_path: Path) -> None:
    run_test(folder, "auto", tmp_path, devices=1)
    for file in ("best_of_n/pool/results.json", "steps/steps/results.json"):
        alone, sharded = (json.loads((logs / file).read_text()) for logs in (tmp_path, folder / f"{strategy}-tested"))
        # The weights are gathered for their hash, which also is that of one process.
        assert sharded.pop("determined_by") == alone.pop("determined_by")
        assert numbers_of(sharded) == pytest.approx(numbers_of(alone), abs=1e-5, rel=1e-5)
    # Figures, tables and all: one process wrote them, and whole.
    assert files_of(folder / f"{strategy}-tested") == files_of(tmp_path)


def numbers_of(results: Any) -> list[float]:
    """All numbers of a JSON value, in order; thresholds of a sweep are themselves scores."""
    if isinstance(results, dict | list):
        values = results.values() if isinstance(results, dict) else results
        return [number for value in values for number in numbers_of(value)]
    return [float(results)] if isinstance(results, int | float) else []


@pytest.mark.parametrize("run", ["ddp resumed", "fsdp2 resumed", "one file resumed", "lora resumed"])
def test_a_resumed_training_has_the_losses_of_the_uninterrupted_one(run: str, ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert len(rank[run]["whole"]) == 6
        assert rank[run]["resumed"] == rank[run]["whole"][3:]


@pytest.mark.parametrize("strategy", ["fsdp2", "fsdp1"])
def test_the_exported_weights_are_those_of_ddp(strategy: str, ranks: list[dict[str, Any]], folder: Path) -> None:
    ddp, sharded = (load_file(folder / name / "model.safetensors") for name in ("ddp", strategy))
    assert ddp.keys() == sharded.keys()
    for name, weight in ddp.items():
        torch.testing.assert_close(sharded[name], weight, atol=1e-5, rtol=0.0)
    assert not torch.equal(ddp["lm_head.weight"], load_file(folder / "lm/model.safetensors")["lm_head.weight"])


def test_each_process_has_its_part_of_the_weights(ranks: list[dict[str, Any]], folder: Path) -> None:
    whole = sum(weight.numel() for weight in load_file(folder / "lm/model.safetensors").values())
    parts = [rank["checkpointed"]["weights"] for rank in ranks]
    assert sum(parts) == whole
    # The odd row of the two embeddings, 32 wide.
    assert parts[0] - parts[1] == 2 * 32
    assert [rank["copies"]["weights"] for rank in ranks] == [whole, whole]


@pytest.mark.parametrize("run", ["checkpointed", "copies"])
def test_recomputed_activations_and_copies_of_the_weights_change_no_loss(run: str, ranks: list[dict[str, Any]]) -> None:
    assert ranks[0][run]["losses"] == pytest.approx(ranks[0]["fsdp2"]["losses"][:3], abs=1e-6)


def test_bf16_mixed_keeps_float32_weights_and_bf16_true_does_not(ranks: list[dict[str, Any]]) -> None:
    expected = ranks[0]["fsdp2"]["losses"][:3]
    for precision, kept in (("bf16-mixed", ["torch.float32"]), ("bf16-true", ["torch.bfloat16"])):
        told = ranks[0][precision]
        assert told["types"] == kept
        assert told["losses"] == pytest.approx(expected, abs=0.02)
        assert told["losses"] != pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("run", ["bf16-mixed", "bf16-true", "checkpointed"])
def test_fsdp2_makes_logits_of_the_two_label_tokens_alone_and_in_float32(run: str, ranks: list[dict[str, Any]]) -> None:
    assert [told[run]["label logits"] for told in ranks] == [[["torch.float32", 2]]] * 2


@pytest.mark.parametrize("backbone", [*ARCHITECTURES, "tied", "renamed"])
def test_weights_read_by_rows_score_as_those_loaded_whole(
    backbone: str, ranks: list[dict[str, Any]], folder: Path
) -> None:
    step_format = ADDED if backbone == "tied" else None
    model = ProcessRewardModel.from_pretrained(folder / backbone, step_format=step_format)
    expected = [scores.tolist() for scores in model.score_steps(SOLUTIONS)]
    for rank, solutions in zip(ranks, (2, 1), strict=True):
        scores = rank["scores"][backbone]
        assert [len(of_solution) for of_solution in scores] == [2, 3][:solutions]
        for of_solution, alone in zip(scores, expected, strict=False):
            assert of_solution == pytest.approx(alone, abs=1e-5)


def test_a_checkpoint_that_cannot_be_read_by_rows_is_loaded_whole_with_a_warning(
    ranks: list[dict[str, Any]], folder: Path
) -> None:
    log = (folder / "rank0.log").read_text()
    assert re.search(r"backbone: each process loads '.*renamed' whole: its files have no tensor named '.*'", log)
    assert not re.search(r"loads '.*/(lm|tied|Llama|Mistral|Qwen2|Gemma)' whole", log)


def test_adapters_and_added_tokens_train_on_two_processes_as_on_one(ranks: list[dict[str, Any]], folder: Path) -> None:
    together = [a + b for a, b in zip(*(rank["lora"]["records"] for rank in ranks), strict=True)]
    expected = plain_losses(folder, together, "tied", lora=LoRA(r=2), step_format=ADDED)
    assert ranks[0]["lora"]["losses"] == pytest.approx(expected, abs=1e-4)
    before, after = (ProcessRewardModel.from_pretrained(folder / n, step_format=ADDED) for n in ("tied", "lora"))
    assert before.backbone is not None
    assert after.backbone is not None
    changed = {
        name
        for name, weight in after.backbone.state_dict().items()
        if not torch.equal(weight, before.backbone.state_dict()[name])
    }
    # Adapters are merged into every linear layer; norms stay; tag and labels were added, so embeddings learn.
    linear = {name for name in after.backbone.state_dict() if "_proj" in name}
    assert changed == linear | {"model.embed_tokens.weight", "lm_head.weight"}


def test_policies_train_alike_under_ddp_and_fsdp2(ranks: list[dict[str, Any]], folder: Path) -> None:
    ddp, fsdp2 = ranks[0]["policy ddp"], ranks[1]["policy fsdp2"]
    assert fsdp2["losses"] == pytest.approx(ddp["losses"], abs=1e-5)
    # The first loss, of the steps of both processes, is that of one batch of all their samples.
    model = PolicyModel(str(folder / "lm"))
    model.configure_model()
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    names = [name for rank in ranks for name in rank["policy ddp"]["records"][0]]
    losses = [
        loss
        for name in names
        for sample in [samples[int(re.findall(r"\d+$", name)[0]) - 1]]
        for loss in completion_losses(model, sample["prompt"], sample["completion"])
    ]
    assert ddp["losses"][0] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def completion_losses(model: PolicyModel, prompt: str, completion: str) -> list[float]:
    """Cross-entropy of each token of a completion and of the end, one sample at a time."""
    assert model.backbone is not None
    encode = partial(model.tokenizer.encode, add_special_tokens=False)
    begin, targets = encode(prompt), [*encode(completion), model.tokenizer.eos_token_id]
    with torch.no_grad():
        logits = model.backbone(torch.tensor([begin + targets])).logits[0, len(begin) - 1 : -1]
    losses: list[float] = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none").tolist()
    return losses


def test_checkpoints_of_adapters_hold_nothing_else(ranks: list[dict[str, Any]], folder: Path) -> None:
    assert ranks
    names = FileSystemReader(folder / "lora-checkpoints/step=3.ckpt").read_metadata().state_dict_metadata
    weights = [name for name in names if name.startswith("state_dict.")]
    assert weights
    assert all(".lora_" in name for name in weights)


@pytest.mark.parametrize("run", ["ddp", "fsdp2", "one-file"])
def test_the_export_command_makes_a_folder_of_any_checkpoint(
    run: str, ranks: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    assert ranks
    checkpoint = folder / f"{run}-checkpoints/step=6.ckpt"
    assert checkpoint.is_dir() == (run == "fsdp2")
    (tmp_path / "fit.yaml").write_text(
        f"trainer: {{devices: 8, strategy: fsdp2}}\nmodel: {{backbone: '{folder / 'lm'}'}}\ndata: {{eta: .inf}}\n"
    )
    arguments = [
        "--config",
        str(tmp_path / "fit.yaml"),
        "--ckpt_path",
        str(checkpoint),
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(["export", *arguments]) == 0
    written = load_file(tmp_path / "o/model.safetensors")
    trained = torch.load(folder / "ddp-checkpoints/step=6.ckpt", weights_only=True)["state_dict"]
    assert {f"backbone.{name}" for name in written} == set(trained)
    for name, weight in written.items():
        torch.testing.assert_close(weight, trained[f"backbone.{name}"], atol=1e-5, rtol=0.0)


def test_the_best_weights_are_read_back_from_the_checkpoint_of_two_processes(
    ranks: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    assert ranks
    written = load_file(folder / "best/model.safetensors")
    for epoch in (0, 1):  # the first is the best
        checkpoint, output = folder / f"best-checkpoints/epoch={epoch}.ckpt", tmp_path / str(epoch)
        arguments = [f"--model.backbone={folder / 'lm'}", f"--ckpt_path={checkpoint}", f"--output={output}"]
        assert main(["export", *arguments]) == 0
        exported = load_file(output / "model.safetensors")
        assert written.keys() == exported.keys()
        assert all(torch.equal(written[name], exported[name]) for name in written) == (epoch == 0)


def test_the_export_command_merges_adapters(ranks: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    assert ranks
    checkpoint = str(folder / "lora-checkpoints/step=6.ckpt")
    arguments = [f"--model.backbone={folder / 'lm'}", "--model.lora.r=2", f"--ckpt_path={checkpoint}"]
    assert main(["export", *arguments, f"--output={tmp_path / 'merged'}"]) == 0
    before, after = (load_file(path / "model.safetensors") for path in (folder / "lm", tmp_path / "merged"))
    assert before.keys() == after.keys()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        n for n in before if "_proj" in n
    }


def test_a_checkpoint_that_is_not_there_is_named(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--model.backbone={folder / 'lm'}", f"--ckpt_path={tmp_path / 'none'}", f"--output={tmp_path / 'o'}"]
    assert main(["export", *arguments]) != 0
    assert "none is neither a checkpoint file nor a folder of one" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
