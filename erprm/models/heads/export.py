"""A process reward model as a token classifier: the two rows of the output layer that judge a step become its head.

At the last token of a step tag the softmax of the two classes, bad and good, is then that of the two label tokens which
the model was trained with, so programs that serve token classifiers give step scores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from erprm.models.backbone.beside import beside_backbone
from erprm.models.backbone.weight_files import model_files
from erprm.models.heads.two_class import CLASSES
from erprm.models.process_reward import STEP_FORMAT_FILE, STEP_FORMAT_KEY, ProcessRewardModel
from erprm.runs.atomic import write_json

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
            f"{type(model).__name__} does not judge steps by two label tokens, so there is nothing to make a head of; "
            "it is exported as it is"
        )


def save_token_classifier(model: ProcessRewardModel, folder: Path) -> None:
    """Writes the folder of a token classifier: weights, tokenizer, and the step format, also in ``config.json``.

    The step format written has no label tokens any more, since its labels are the classes of the head. Adapters are
    merged; tied embeddings do no harm, since two rows are copied. On one process.

    Args:
        model: with its weights.
        folder: where to.

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
        causal: PreTrainedModel = AutoModelForCausalLM.from_pretrained(plain, dtype="auto").eval()
        try:
            classifier: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
                plain,
                dtype="auto",
                id2label=dict(enumerate(CLASSES)),
                label2id={name: number for number, name in enumerate(CLASSES)},
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
