"""Tiny random checkpoints of every project, saved as theirs are on the hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny import make_llama, make_tokenizer

transformers_: Any = transformers

CHAT = "{% for m in messages %}{{ '<|begin|>' + m['role'] + '\\n\\n' + (m['content'] | trim) + '<|end|>' }}{% endfor %}"
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    # Wide enough for what a model sees to make a difference.
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def tiny_tokenizer() -> Any:
    """With the tags and labels of all projects."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<extra_0>"], special_tokens=True)
    tokenizer.chat_template = CHAT
    return tokenizer


def causal_lm(folder: Path, tokenizer: Any, architecture: str = "Llama") -> None:
    if architecture == "Llama":
        model = make_llama(len(tokenizer), initializer_range=0.3)
    else:
        torch.manual_seed(0)
        config = getattr(transformers_, f"{architecture}Config")(vocab_size=len(tokenizer), **SIZES)
        model = getattr(transformers_, f"{architecture}ForCausalLM")(config)
    save(folder, model, tokenizer)


def token_classifier(folder: Path, tokenizer: Any, architecture: str = "Qwen2", **changes: Any) -> None:
    torch.manual_seed(0)
    config = getattr(transformers_, f"{architecture}Config")(vocab_size=len(tokenizer), **SIZES, **changes)
    save(folder, getattr(transformers_, f"{architecture}ForTokenClassification")(config), tokenizer)


def qwen_prm(folder: Path, tokenizer: Any, without: str | None = None) -> None:
    """As Qwen2.5-Math-PRM: a head in the files of weights, and code that must not be run."""
    torch.manual_seed(0)
    model = transformers_.Qwen2ForCausalLM(transformers_.Qwen2Config(vocab_size=len(tokenizer), **SIZES))
    save(folder, model, tokenizer)
    weights: dict[str, Tensor] = {n: w.clone() for n, w in model.state_dict().items() if n != "lm_head.weight"}
    for number, layer in ((0, nn.Linear(32, 32)), (2, nn.Linear(32, 2))):
        weights |= {f"score.{number}.weight": layer.weight.detach(), f"score.{number}.bias": layer.bias.detach()}
    if without is not None:
        del weights[without]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    change_config(
        folder,
        architectures=["Qwen2ForProcessRewardModel"],
        auto_map={
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    )
    for name in ("configuration_qwen2_rm", "modeling_qwen2_rm"):
        (folder / f"{name}.py").write_text("raise SystemExit('code of a checkpoint was run')\n")


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


MAKE: dict[str, Callable[[Path, Any], None]] = {
    "er_prm": causal_lm,
    "math_shepherd": lambda folder, tokenizer: causal_lm(folder, tokenizer, "Mistral"),
    "rlhflow": causal_lm,
    "qwen_prm": qwen_prm,
    "trl": token_classifier,
}
