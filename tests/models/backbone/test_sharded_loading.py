"""Weights left out at first and read by rows later, on one process; tests/models/test_two_ranks.py has the rest."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from erprm.models.backbone.embeddings import fit_embeddings
from erprm.models.backbone.loading import load_causal_lm
from erprm.models.backbone.sharded_loading import DeferredWeights, NotDeferrableError, empty_causal_lm
from tests.conftest import REPOSITORY
from tests.models.attention.test_architectures import KEEP_APART
from tests.tiny import make_llama, make_tokenizer

TOKENS = torch.tensor([[5, 17, 200, 3, 99, 42]])


def build_and_load(path: Path, tokens: int | None = None) -> PreTrainedModel:
    model = empty_causal_lm(str(path), dtype=torch.float32, attn_implementation="sdpa")
    assert all(parameter.is_meta for parameter in model.parameters())
    if tokens is not None:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    DeferredWeights(model, str(path)).load(model, torch.device("cpu"))
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(TOKENS).logits
    return result


@pytest.mark.parametrize("name", sorted(KEEP_APART.keys() - {"GPTNeoX"}))
def test_logits_equal_those_of_a_model_that_transformers_loads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=341, **KEEP_APART[name])
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    getattr(transformers, name + head)(config).save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa")
    deferred = build_and_load(tmp_path)
    for tensor, weight in plain.state_dict().items():
        assert torch.equal(deferred.state_dict()[tensor], weight), tensor
    torch.testing.assert_close(logits(deferred), logits(plain.eval()), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("tie", [True, False])
def test_added_tokens_get_the_same_rows_as_in_a_model_that_is_loaded_whole(tie: bool, tmp_path: Path) -> None:
    make_llama(300, tie_word_embeddings=tie).save_pretrained(tmp_path)
    tokenizer = make_tokenizer(with_tags=False)
    assert len(tokenizer) < 300
    tokenizer.add_tokens([f"<{i}>" for i in range(310 - len(tokenizer))])
    whole = load_causal_lm(str(tmp_path))
    fit_embeddings(whole, tokenizer)
    deferred = build_and_load(tmp_path, tokens=310)
    for name, weight in whole.state_dict().items():
        assert torch.equal(deferred.state_dict()[name], weight), name
    rows = whole.state_dict()["model.embed_tokens.weight"]
    # The new ones lie close to the mean of the old ones, and apart.
    torch.testing.assert_close(rows[300:].mean(0), rows[:300].mean(0), atol=2e-3, rtol=0.0)
    assert len(rows[300:].unique(dim=0)) == 10


def test_an_architecture_whose_weights_transformers_converts_is_not_read_by_rows(tmp_path: Path) -> None:
    config_class: Any = transformers.GPTNeoXConfig
    model: Any = transformers.GPTNeoXForCausalLM
    model(config_class(vocab_size=341, **KEEP_APART["GPTNeoX"])).save_pretrained(tmp_path)
    with pytest.raises(NotDeferrableError, match="transformers converts weights of GPTNeoXForCausalLM"):
        empty_causal_lm(str(tmp_path), dtype=torch.float32, attn_implementation="sdpa")


def broken(folder: Path, **changes: object) -> Path:
    """The folder, with other values in its configuration."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "its weights are quantized"),
        ({"num_hidden_layers": 3}, r"its files have no tensor named 'model\.layers\.2\."),
        ({"vocab_size": 350}, r"model\.embed_tokens\.weight is of shape \(340, 32\) in its files, of \(350, 32\)"),
        ({"tie_word_embeddings": True}, r"ties .*embed_tokens.* and .*lm_head.*, but its files hold both"),
    ],
)
def test_what_cannot_be_read_by_rows_is_said(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_llama(340).save_pretrained(tmp_path)
    with pytest.raises(NotDeferrableError, match=message):
        empty_causal_lm(str(broken(tmp_path, **changes)), dtype=torch.float32, attn_implementation="sdpa")


def test_untied_weights_under_a_configuration_that_ties_them_are_loaded_whole_and_kept(tmp_path: Path) -> None:
    make_llama(340).save_pretrained(tmp_path)
    broken(tmp_path, tie_word_embeddings=True)
    with pytest.warns(UserWarning, match="loads .* whole: its configuration ties"):
        model = load_causal_lm(str(tmp_path), empty=True)
    saved = load_file(tmp_path / "model.safetensors")
    assert torch.equal(model.state_dict()["lm_head.weight"], saved["lm_head.weight"])


def test_a_tensor_that_a_model_of_the_user_s_own_lacks_is_named(tmp_path: Path) -> None:
    make_llama(340).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with torch.device("meta"):
        model = make_llama(340)
    with pytest.raises(ValueError, match=r"safetensors files of '.*' have no tensor 'model\.norm\.weight'"):
        DeferredWeights(model, str(tmp_path))


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    make_llama(200).save_pretrained(tmp_path / "lm")
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    model = load_causal_lm(str(tmp_path / "lm"))
    with pytest.raises(ValueError, match=r"has a vocabulary of 286 tokens, but the .*lm' has 200 rows"):
        fit_embeddings(model, AutoTokenizer.from_pretrained(tmp_path / "tokenizer"))


def test_a_process_of_eight_holds_little_more_than_its_rows_and_a_file(tmp_path: Path) -> None:
    llama = make_llama(
        16_000, hidden_size=512, intermediate_size=2048, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=8,
    )  # fmt: skip
    llama.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="15MB")
    sizes = [file.stat().st_size / 2**20 for file in tmp_path.glob("*.safetensors")]
    assert len(sizes) > 4
    script = str(REPOSITORY / "benchmarks/loading.py")
    command = [sys.executable, script, "--load", str(tmp_path), "rows", "--processes", "8"]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout.split()[-1])
    # In float32 the weights take twice the size of their files; what else is imported on the way takes some, too.
    assert 2 * sum(sizes) / 8 < peak < 2 * sum(sizes) / 8 + max(sizes) + 25 < 2 * sum(sizes) / 2
