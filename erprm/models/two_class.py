"""Models that judge a step by a head of two classes, bad and good, instead of two tokens of the vocabulary.

A process reward model is exported as one: the two rows of the output layer that judge a step become its head. At the
last token of a step tag the softmax of the two classes is then that of the two label tokens which the model was trained
with, so programs that serve token classifiers give step scores.

Shape suffixes: S scored steps, 2 the good and the bad label.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from erprm.data.packing import StepBatch
from erprm.models.attention.kernels import Attention
from erprm.models.backbone.loading import BackboneError, Dtype, load_pretrained
from erprm.models.backbone.weight_files import beside_backbone, model_files
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.step_format_file import STEP_FORMAT_FILE, STEP_FORMAT_KEY
from erprm.runs.atomic import write_json

CLASSES = ("bad", "good")
_NAMES: dict[str, Any] = {
    "id2label": dict(enumerate(CLASSES)),
    "label2id": {name: number for number, name in enumerate(CLASSES)},
}
# What `step_logits` gives first is the good label.
_GOOD_BAD = [1, 0]


class TokenClassificationRewardModel(ProcessRewardModel):
    """Trains a language model with a head of two classes, read at every step tag, as TRL's ``PRMTrainer`` did.

    The backbone is a language model, whose head then starts at random, or a token classifier of two classes, which
    keeps its head. The step format is by default the preset ``trl``; label tokens of another one are left out. Dropout
    is off. With LoRA the head is trained whole. See docs/from-trl.md.
    """

    default_step_format = "trl"

    def __init__(self, backbone: str, **settings: Any) -> None:
        """Notes the settings; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of a language model, or of a token classifier.
            settings: those of :class:`ProcessRewardModel`.

        Raises:
            ValueError: as :class:`ProcessRewardModel`, or if the loss needs label tokens.
        """
        super().__init__(backbone, **settings)
        if self.loss == "vocabulary":
            raise ValueError(
                "model.loss is 'vocabulary'; a head of two classes has none: it must be two_way, mse or beta_binomial"
            )
        self.step_format = replace(self.step_format, positive=None, negative=None)

    def build_backbone(self) -> PreTrainedModel:
        """The model with its head.

        Raises:
            BackboneError: as :func:`load_token_classifier`.
        """
        model = load_token_classifier(
            AutoModelForTokenClassification,
            self.backbone_path,
            dtype=self.dtype_name,
            attn_implementation=self.attn_implementation,
            new_head=True,
        )
        model.config.update(_NAMES)
        return model

    def is_trained_beside_adapters(self, name: str) -> bool:
        """With LoRA the head is trained whole."""
        assert self.backbone is not None, "configure_model has not been called"
        return _is_of_head(name, self.backbone)

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""
        return class_logits(self, batch)


def load_token_classifier(
    loader: Any, path: str, *, dtype: Dtype, attn_implementation: Attention, new_head: bool = False
) -> PreTrainedModel:
    """Loads a model with a head of two classes, its dropout off; a new head is random where the checkpoint has none.

    Raises:
        BackboneError: if weights are missing, a head has not two classes, or a token is judged by what follows it.
    """
    model = load_pretrained(
        loader,
        path,
        dtype=dtype,
        attn_implementation=attn_implementation,
        may_lack=_is_of_head if new_head else None,
    )
    if model.config.num_labels != len(CLASSES):
        raise BackboneError(
            f"the head of {path!r} has {model.config.num_labels} classes; a step is judged by two, bad and good"
        )
    if not _is_causal(model):
        raise BackboneError(
            f"{path!r}, a {type(model).__name__}, judges a token by what follows it, too; it must be a decoder, whose "
            "score of a step does not change when more steps follow"
        )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def class_logits(model: ProcessRewardModel, batch: StepBatch) -> Tensor:
    """Logits of good and bad, of a backbone with such a head, at each scored step ``[S, 2]``."""
    assert model.backbone is not None, "configure_model has not been called"
    logits_RT2 = model.backbone(**model.backbone_inputs(batch)).logits
    logits_S2: Tensor = logits_RT2.flatten(0, 1)[batch.tag_index][:, _GOOD_BAD]
    return logits_S2


def _is_of_head(name: str, model: PreTrainedModel) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.")


@torch.no_grad()
def _is_causal(model: PreTrainedModel) -> bool:
    """True if the logits of a token do not change when another token follows it."""
    alone, followed = (model(input_ids=torch.tensor([ids])).logits[0, 0].float() for ids in ([0], [0, 1]))
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return torch.allclose(alone, followed, rtol=tolerance, atol=tolerance)


_TOLERANCE = 1e-4
_SMALL_TOLERANCE = 0.02  # of scores that are computed in 16 bits
_CHECKED_TOKENS = 32


def check_convertible(model: ProcessRewardModel) -> None:
    """Refuses a model whose steps are not judged by two tokens of the vocabulary; no weights are needed.

    Raises:
        ValueError: if it is such a model.
    """
    if model.step_format.positive is None or type(model).step_logits is not ProcessRewardModel.step_logits:
        raise ValueError(
            f"{type(model).__name__} does not judge steps by two label tokens, so a head cannot be made from them; "
            "it is exported as it is"
        )


def save_token_classifier(model: ProcessRewardModel, folder: Path) -> None:
    """Writes the folder of a token classifier: weights, tokenizer, and the step format, also in ``config.json``.

    The step format written has no label tokens any more, since its labels are the classes of the head. Adapters are
    merged; tied embeddings do no harm, since two rows are copied. On one process.

    Raises:
        ValueError: if the model cannot be converted, transformers has no token classifier of its architecture, or the
            architecture does something to logits that a head would lack, such as scaling or capping.
    """
    check_convertible(model)
    if beside := beside_backbone(model.state_dict()):
        raise ValueError(
            f"{type(model).__name__} has {min(beside)} beside its backbone, which a token classifier lacks; export it "
            "as hf"
        )
    encoder = model.step_encoder
    with TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        causal: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            plain, dtype="auto", trust_remote_code=False
        ).eval()
        try:
            classifier: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
                plain, dtype="auto", trust_remote_code=False, **_NAMES
            ).eval()
        except ValueError as error:
            raise ValueError(f"transformers has no token classifier for {type(causal).__name__}") from error
    label_tokens = [encoder.negative_id, encoder.positive_id]
    _fill_head(classifier, causal, label_tokens)
    _check_scores(classifier, causal, label_tokens)
    step_format = replace(encoder.step_format, positive=None, negative=None).to_dict()
    setattr(classifier.config, STEP_FORMAT_KEY, step_format)
    with model_files(folder) as files:
        classifier.save_pretrained(files)
        encoder.tokenizer.save_pretrained(files)
        write_json(step_format, files / STEP_FORMAT_FILE)


@torch.no_grad()
def _fill_head(classifier: PreTrainedModel, causal: PreTrainedModel, label_tokens: list[int]) -> None:
    heads = [m for m in classifier.modules() if isinstance(m, nn.Linear) and m.out_features == len(CLASSES)]
    output = causal.get_output_embeddings()
    if len(heads) != 1 or not isinstance(output, nn.Linear):
        raise ValueError(f"the head of {type(classifier).__name__} is not one linear layer of two classes")
    (head,) = heads
    head.weight.copy_(output.weight[label_tokens])
    if head.bias is not None:
        head.bias.copy_(torch.zeros(2) if output.bias is None else output.bias[label_tokens])


@torch.inference_mode()
def _check_scores(classifier: PreTrainedModel, causal: PreTrainedModel, label_tokens: list[int]) -> None:
    """Compares the scores of both models at every place of a text of random tokens."""
    vocabulary = int(causal.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (1, _CHECKED_TOKENS), generator=generator).to(causal.device)

    def scores(logits: Tensor) -> Tensor:
        return logits.float().softmax(-1)

    expected = scores(causal(input_ids=ids).logits[..., label_tokens])
    apart = (scores(classifier(input_ids=ids).logits) - expected).abs().max().item()
    if apart > (_TOLERANCE if causal.dtype == torch.float32 else _SMALL_TOLERANCE):
        raise ValueError(
            f"{type(causal).__name__} does something to its logits that a head of two classes lacks: scores differ by "
            f"up to {apart:.2g}; export it as hf"
        )
