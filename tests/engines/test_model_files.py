"""A damaged model folder: one line that names the file, from whichever side the model is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from erprm.engines.base import EngineError, Sampling
from erprm.engines.model_files import BackboneError, load_model, load_tokenizer
from erprm.engines.transformers import TransformersEngine
from erprm.models import ProcessRewardModel
from erprm.models.backbone.loading import load_causal_lm
from tests.tiny import make_llama, make_tokenizer, save_tiny_llama

DOORS: dict[str, Callable[[str], Any]] = {
    "engine": lambda path: TransformersEngine(path, device="cpu"),
    "model": ProcessRewardModel.from_pretrained,
}


def cut(file: Path, size: int = -10) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:size])


def write(name: str, text: str) -> Callable[[Path], None]:
    def into(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return into


def index(**weight_map: str) -> str:
    return json.dumps({"metadata": {}, "weight_map": weight_map})


def other_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}), encoding="utf-8")


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut off": (lambda f: cut(f / "model.safetensors"), r"model\.safetensors is damaged or incomplete"),
    "header cut off": (lambda f: cut(f / "model.safetensors", 90), r"model\.safetensors is damaged or incomplete"),
    "weights empty": (lambda f: cut(f / "model.safetensors", 0), r"model\.safetensors is damaged or incomplete"),
    "weights a pointer": (write("model.safetensors", LFS), r"model\.safetensors is a Git LFS pointer"),
    "weights a web page": (write("model.safetensors", "<!doctype html>"), r"model\.safetensors is damaged"),
    "config cut off": (lambda f: cut(f / "config.json"), r"config\.json is damaged: it is not JSON"),
    "config a list": (write("config.json", "[1]"), r"config\.json is damaged: it holds '\[1\]'"),
    "config a pointer": (write("config.json", LFS), r"config\.json is a Git LFS pointer"),
    "config not UTF-8": (lambda f: (f / "config.json").write_bytes(b'{"a": "\xff"}'), r"config\.json is damaged"),
    "config of another model": (other_width, r"proj.weight is of shape \(.*\) in the weights, but of \(.*96.*\) in"),
    "config of no model": (write("config.json", '{"model_type": "teapot"}'), "lm.*teapot|teapot"),
    "a weight lacking": (without_a_layer, r"lack 1 .* such as model\.layers\.1\.mlp\.up_proj\.weight"),
    "tokenizer cut off": (lambda f: cut(f / "tokenizer.json"), r"tokenizer\.json is damaged: it is not JSON"),
    "tokenizer of other content": (write("tokenizer.json", '{"version": "1.0"}'), r"tokenizer\.json is damaged"),
    "tokenizer settings cut off": (lambda f: cut(f / "tokenizer_config.json"), r"tokenizer_config\.json is damaged"),
    "index a list": (write("model.safetensors.index.json", "[]"), r"index\.json is damaged: it holds '\[\]'"),
    "index without names": (write("model.safetensors.index.json", "{}"), r"index\.json is damaged: its weight_map"),
    "index of a file that is not there": (
        write("model.safetensors.index.json", index(a="part-1.safetensors")),
        r"part-1\.safetensors does not exist, but .*index\.json names it",
    ),
    "index of a tensor that is not there": (
        write("model.safetensors.index.json", index(a="model.safetensors")),
        r"model\.safetensors has no tensor 'a', but .*index\.json says so",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("whole") / "lm")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_damaged_is_named_in_one_line(door: str, fault: str, whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "lm")
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(BackboneError, match=message) as raised:
        DOORS[door](str(folder))
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_shared_pointer_of_git_lfs_is_called_one(shared_data: Path, whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "lm")
    shutil.copyfile(shared_data / "faults/lfs_pointer_model.safetensors", folder / "model.safetensors")
    with pytest.raises(BackboneError, match=r"model\.safetensors is a Git LFS pointer.*git lfs pull"):
        load_causal_lm(str(folder))


@pytest.mark.parametrize("door", DOORS)
def test_a_local_path_that_is_not_there_is_told_from_a_hub_id(
    door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, message in {
        "runs/my/prm": "runs/my/prm",
        str(tmp_path / "nowhere"): "nowhere",
        "~/no-such-model-folder": str(Path.home() / "no-such-model-folder"),
        "my/prm": "neither a local model folder nor a model on the hub that can be reached",
    }.items():
        with pytest.raises((FileNotFoundError, BackboneError), match=message) as raised:
            DOORS[door](path)
        assert "\n" not in str(raised.value)


def test_the_home_folder_may_be_written_as_a_tilde(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(whole, tmp_path / "lm")
    assert TransformersEngine("~/lm", device="cpu").name == str(tmp_path / "lm")
    assert ProcessRewardModel.from_pretrained("~/lm").backbone_path == str(tmp_path / "lm")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model '.*nowhere' is neither a local model folder nor"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"with gguf_file 'nothing\.gguf' is neither a local model folder nor"):
        load_tokenizer(str(tmp_path), "nothing.gguf")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=rf"no tokenizer could be loaded from '{tmp_path}'"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_no_numbers_end_sampling_with_the_name_of_the_model(value: float, temperature: float) -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    with torch.no_grad():
        model.model.norm.weight[3] = value
    engine = TransformersEngine.from_model(model, tokenizer, name="broken-policy")
    with pytest.raises(EngineError, match="model 'broken-policy' gives logits that are NaN or infinite"):
        engine.generate(["What is 3 and 4 more?"], Sampling(temperature=temperature, max_tokens=8))


def test_tokens_that_a_model_rules_out_are_no_fault() -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(len(tokenizer)))
    with torch.no_grad():
        model.lm_head.bias[5] = -torch.inf
    engine = TransformersEngine.from_model(model, tokenizer)
    ((completion,),) = engine.generate(["What is 3 and 4 more?"], Sampling(max_tokens=8))
    assert 5 not in completion.token_ids


# Blocks of 256 weights: bytes of a block, and where in it the 16-bit scales are.
K_QUANTS = {"Q4_K": (144, [0, 2]), "Q6_K": (210, [208])}


def write_gguf(file: Path, quantization: str) -> dict[str, np.ndarray[Any, Any]]:
    """A Llama of one layer, of whose feed-forward weights the blocks are random bytes; the weights they stand for."""
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(256)
    writer.add_block_count(1)
    writer.add_feed_forward_length(256)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(8)
    for name, shape in {
        "token_embd": (8, 256),
        "output": (8, 256),
        "output_norm": (256,),
        "blk.0.attn_norm": (256,),
        "blk.0.ffn_norm": (256,),
        **{f"blk.0.attn_{part}": (256, 256) for part in ("q", "k", "v", "output")},
    }.items():
        writer.add_tensor(f"{name}.weight", generator.standard_normal(shape).astype(np.float32))
    size, scales = K_QUANTS[quantization]
    kind = gguf.GGMLQuantizationType[quantization]
    expected = {}
    for part in ("gate", "up", "down"):
        blocks = generator.integers(0, 256, (256, size), dtype=np.uint8)
        for place in scales:
            blocks[:, place : place + 2] = np.full((256, 1), 0.01, np.float16).view(np.uint8)
        writer.add_tensor(f"blk.0.ffn_{part}.weight", blocks, raw_dtype=kind)
        expected[part] = gguf.dequantize(blocks, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.mark.parametrize("quantization", K_QUANTS)
def test_packed_gguf_weights_are_loaded_as_floats_that_can_be_trained(quantization: str, tmp_path: Path) -> None:
    expected = write_gguf(tmp_path / "m.gguf", quantization)
    model: Any = load_causal_lm(str(tmp_path), "m.gguf")
    for part, weights in expected.items():
        loaded = model.get_submodule(f"model.layers.0.mlp.{part}_proj").weight
        assert loaded.requires_grad
        torch.testing.assert_close(loaded.detach(), torch.from_numpy(weights))
    model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.save_pretrained(tmp_path / "plain")
    again, missing = load_model(AutoModelForCausalLM, str(tmp_path / "plain"))
    assert missing == []
    assert again.dtype == torch.float32


def test_a_gguf_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text(LFS, encoding="utf-8")
    with pytest.raises(BackboneError, match=r"m\.gguf is a Git LFS pointer, not the GGUF file itself"):
        load_causal_lm(str(tmp_path), "m.gguf")
    (tmp_path / "m.gguf").write_bytes(b"\0" * 64)
    with pytest.raises(BackboneError, match=r"m\.gguf is damaged: it does not begin as a GGUF file does"):
        load_causal_lm(str(tmp_path), "m.gguf")


class Packing:
    """As a loader that leaves weights in their blocks."""

    asked: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_pretrained(cls, path: str, **settings: Any) -> tuple[torch.nn.Module, dict[str, list[Any]]]:
        cls.asked = settings
        model = torch.nn.Module()
        model.register_parameter("proj", torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False))
        return model, {"missing_keys": [], "mismatched_keys": []}


def test_weights_that_stay_packed_though_asked_to_be_unpacked_are_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", "Q4_K")
    with pytest.raises(BackboneError, match=r"proj is of type torch\.uint8: weights that are quantized can be neither"):
        load_model(Packing, str(tmp_path), "m.gguf")
    assert Packing.asked["quantization_config"].dequantize
