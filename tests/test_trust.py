"""What docs/trust.md says is never run: each test plants code, and finds that it was not run."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.fabric.plugins.io import torch_io
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from erprm.cli import main
from erprm.data.files.row_files import read_rows
from erprm.data.records import write_records
from erprm.engines.model_files import BackboneError, load_tokenizer
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.errors import UserError
from erprm.models import AdaptedRewardModel, FSDP2Strategy, PolicyModel, ProcessRewardModel, WholeCheckpointIO
from erprm.models.backbone.loading import causal_lm_without_weights, load_causal_lm
from erprm.models.checkpoint_weights import load_weights
from erprm.models.distributed.untrusted import CheckpointError, check_folder
from erprm.steps import StepFormat, StepFormatError
from tests.conftest import REPOSITORY
from tests.tiny import make_record, make_tokenizer, save_tiny_llama


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)

    @property
    def was_run(self) -> bool:
        return self.folder.exists()


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path / "executed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_llama(tmp_path / "lm")


def test_what_is_planted_would_be_run(planted: Planted) -> None:
    pickle.loads(pickle.dumps(planted))
    assert planted.was_run


# Models -----------------------------------------------------------------------------------------------------------

LOADERS: dict[str, Callable[[str], Any]] = {
    "reward model": ProcessRewardModel.from_pretrained,
    "policy": lambda path: PolicyModel(path).configure_model(),
    "engine": TransformersEngine,
    "adapter": lambda path: AdaptedRewardModel.from_pretrained(path, adapter="er_prm"),
    "backbone of a sharded model": lambda path: load_causal_lm(path, empty=True),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_weights_that_are_a_pickle_are_refused(loader: str, model: Path, planted: Planted) -> None:
    (model / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.bin", "adapter_model.bin"):
        torch.save({"lm_head.weight": planted}, model / name)
    with pytest.raises(BackboneError, match=r"cannot load .*model\.safetensors"):
        LOADERS[loader](str(model))
    assert not planted.was_run


def plant_code(model: Path, planted: Planted, **changes: Any) -> None:
    """Names code of the folder for everything that can have its own."""
    (model / "planted.py").write_text(f"import os\nos.mkdir({str(planted.folder)!r})\n", encoding="utf-8")
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForTokenClassification", "AutoModel")
    for file, auto_map in (
        ("config.json", dict.fromkeys(classes, "planted.Planted")),
        ("tokenizer_config.json", {"AutoTokenizer": ["planted.Planted", "planted.Planted"]}),
    ):
        content = json.loads((model / file).read_text(encoding="utf-8"))
        content |= {"auto_map": auto_map, **(changes if file == "config.json" else {})}
        (model / file).write_text(json.dumps(content), encoding="utf-8")


MODEL_READERS: dict[str, Callable[[str], Any]] = {
    **LOADERS,
    "estimate": lambda path: causal_lm_without_weights(path, None, torch.float32),
}


@pytest.mark.parametrize("reader", MODEL_READERS)
def test_code_of_a_model_folder_is_not_run_where_transformers_knows_the_model(
    reader: str, model: Path, planted: Planted
) -> None:
    plant_code(model, planted)
    MODEL_READERS[reader](str(model))
    load_tokenizer(str(model))
    assert not planted.was_run


@pytest.mark.parametrize("reader", MODEL_READERS)
def test_code_of_a_model_folder_is_neither_run_nor_asked_about_where_it_would_be_needed(
    reader: str, model: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    plant_code(model, planted, model_type="planted", architectures=["Planted"])
    with pytest.raises(UserError):
        MODEL_READERS[reader](str(model))
    assert not planted.was_run


def test_data_stats_reads_no_code_with_a_tokenizer(
    model: Path, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")
    plant_code(model, planted, model_type="planted")
    content = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    content["tokenizer_class"] = "Planted"
    (model / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    row = {"prompt": "3 + 4?", "completions": ["7"], "labels": [True]}
    (tmp_path / "trl.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    main(["data", "stats", str(tmp_path / "trl.jsonl"), "--tokenizer", str(model)])
    assert not planted.was_run


@pytest.mark.parametrize("is_deep", [False, True])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_configuration_cannot_choose_attention_from_the_hub(key: str, is_deep: bool, model: Path) -> None:
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["a"] = {"b": {key: "kernels-community/flash-attn2"}} if is_deep else {}
    if not is_deep:
        config[key] = "kernels-community/flash-attn2"
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match=f"config.json sets {key} to 'kernels-community/flash-attn2', which is"):
        load_causal_lm(str(model))
    # Made from the configuration, a model is given its attention.
    assert load_causal_lm(str(model), empty=True).config._attn_implementation == "sdpa"
    assert causal_lm_without_weights(str(model), None, torch.float32).config._attn_implementation == "sdpa"


# Chat templates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir(messages[0].content) }}",
        "{{ joiner.__init__.__globals__.__builtins__.open(messages[0].content, 'w') }}",
        "{{ '{0.__class__.__init__}'.format(raise_exception) ~ raise_exception.__globals__.os }}",
        "{{ messages.append(1) }}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{{ raise_exception('no chats') }}",
        "{% if",
    ],
)
def test_a_chat_template_cannot_leave_its_sandbox_and_fails_by_name(template: str, planted: Planted) -> None:
    tokenizer: Any = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(StepFormatError, match=r"the chat template of tokenizer .* fails: "):
        PromptFormat(chat=True).token_ids(str(planted.folder), tokenizer)
    with pytest.raises(StepFormatError, match=r"the chat template of tokenizer .* fails: "):
        StepFormat.preset("rlhflow", add_tokens=True).bind(tokenizer)
    assert not planted.was_run


# Checkpoints ------------------------------------------------------------------------------------------------------


def checkpoint_folder(folder: Path, **more: Any) -> Path:
    """As a sharded training writes one."""
    state = {
        "state_dict": {"weight": torch.ones(2), "narrow": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer_0": {"param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99), "foreach": None, **more}]},
    }
    save_distributed(state, checkpoint_id=folder, no_dist=True)
    torch.save({"epoch": 1}, folder / "meta.pt")
    return folder


def refuses(path: Path, model: Path, planted: Planted, file: str = "") -> None:
    """As the command export reads it."""
    with pytest.raises(CheckpointError, match=rf"{file} is not read: it names (posix|os)\.mkdir, which reading it"):
        load_weights(ProcessRewardModel(str(model)), path)
    assert not planted.was_run


def test_a_checkpoint_file_with_code_is_refused(tmp_path: Path, model: Path, planted: Planted) -> None:
    torch.save({"state_dict": {}, "epoch": planted}, tmp_path / "a.ckpt")
    refuses(tmp_path / "a.ckpt", model, planted)
    with pytest.raises(CheckpointError, match=r"a\.ckpt is not read: .*--weights_only false"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    assert not planted.was_run


def test_a_checkpoint_of_the_network_is_read_without_code_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch_io, "get_filesystem", lambda _: SimpleNamespace(exists=lambda _: True))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **settings: asked.append(settings))
    WholeCheckpointIO().load_checkpoint("http://localhost/a.ckpt")
    assert [settings["weights_only"] for settings in asked] == [True]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_commands_refuse_a_checkpoint_with_code(
    command: str,
    model: Path,
    tmp_path: Path,
    planted: Planted,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "epoch": planted}, tmp_path / "a.ckpt")
    write_records([make_record(i) for i in range(4)], tmp_path / "r.parquet")
    (tmp_path / "s.jsonl").write_text('{"question": "3 + 4?", "solution": "7"}\n', encoding="utf-8")
    data = dict.fromkeys(("rollouts", "validation_rollouts", "test_rollouts"), "r.parquet")
    settings = {
        "trainer": {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False},
        "model": {"backbone": str(model)},
        "data": {**data, "predict_solutions": "s.jsonl", "cache_dir": "cache"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    assert main([command, "--config", "config.yaml", "--ckpt_path", "a.ckpt"]) == 1
    said = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert f"erprm {command}: a.ckpt is not read: it names " in said
    assert not planted.was_run
    with suppress(Exception):  # It is not much of a checkpoint.
        main([command, "--config", "config.yaml", "--ckpt_path", "a.ckpt", "--weights_only", "false"])
    assert planted.was_run


def test_the_description_of_a_checkpoint_folder_with_code_is_refused(
    tmp_path: Path, model: Path, planted: Planted
) -> None:
    folder = checkpoint_folder(tmp_path / "a.ckpt")
    check_folder(folder)
    description = pickle.loads((folder / ".metadata").read_bytes())
    description.planner_data = planted
    (folder / ".metadata").write_bytes(pickle.dumps(description))
    refuses(folder, model, planted, r"\.metadata")
    with pytest.raises(CheckpointError, match="is not read"):
        FSDP2Strategy().load_checkpoint(folder)
    assert not planted.was_run


def test_a_name_with_dots_reaches_nothing_beside_what_is_allowed(tmp_path: Path) -> None:
    folder = checkpoint_folder(tmp_path / "a.ckpt")
    # Protocol 4 looks attributes up along the dots.
    stacked = b"\x80\x04\x8c\x13torch.serialization\x8c\x09os.system\x93."
    (folder / ".metadata").write_bytes(stacked)
    with pytest.raises(CheckpointError, match=r"it names torch\.serialization\.os\.system"):
        check_folder(folder)


def test_a_value_in_a_checkpoint_folder_with_code_is_refused(tmp_path: Path, model: Path, planted: Planted) -> None:
    refuses(checkpoint_folder(tmp_path / "a.ckpt", name=planted), model, planted, r"\.distcp")


def test_what_lightning_adds_to_a_checkpoint_folder_is_refused_with_code(
    tmp_path: Path, model: Path, planted: Planted
) -> None:
    folder = checkpoint_folder(tmp_path / "a.ckpt")
    torch.save({"epoch": planted}, folder / "meta.pt")
    refuses(folder, model, planted, r"meta\.pt")


def test_a_damaged_description_of_a_checkpoint_folder_is_named(tmp_path: Path) -> None:
    folder = checkpoint_folder(tmp_path / "a.ckpt")
    for content in (b"", b"garbage", (folder / ".metadata").read_bytes()[:-40], pickle.dumps({})):
        (folder / ".metadata").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"\.metadata is damaged"):
            check_folder(folder)


# Data and settings ------------------------------------------------------------------------------------------------


def test_a_data_folder_runs_no_script_and_no_pickle(tmp_path: Path, planted: Planted) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    # The kind of column that pyarrow unpickled before version 14.0.1, and a script as `datasets` ran them before 4.0.
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(planted)}
    schema = pa.schema([pa.field("question", pa.string(), metadata=metadata)])
    pq.write_table(pa.table({"question": ["3 + 4?"]}, schema=schema), folder / "train.parquet")
    (folder / "rows.py").write_text(f"import os\nos.mkdir({str(planted.folder)!r})\n", encoding="utf-8")
    assert [row["question"] for _, row in read_rows(folder)] == ["3 + 4?"]
    assert not planted.was_run


def test_yaml_makes_no_object(tmp_path: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tag = f"!!python/object/apply:os.mkdir ['{planted.folder}']\n"
    (tmp_path / "config.yaml").write_text(f"output_dir: {tag}", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["rollout", "--config", "config.yaml"])
    assert not planted.was_run


def test_a_file_of_the_working_folder_stands_in_for_no_library(tmp_path: Path, planted: Planted) -> None:
    for name in ("random", "json", "difflib", "dataclasses", "typing", "yaml", "numpy"):
        code = f"import os\nos.mkdir({str(planted.folder)!r})\n"
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "erprm", "report", "missing"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.stderr.startswith("erprm report: 'missing' is not a folder"), ended.stderr
    assert not planted.was_run
