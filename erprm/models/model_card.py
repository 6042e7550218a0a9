"""The README of a published process reward model: what it was made from, how good it is, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erprm import __version__
from erprm.data.files.hub import is_hub_id
from erprm.errors import InputError
from erprm.metrics.estimate import Curve
from erprm.metrics.evaluation import powers_of_two
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.two_class import TokenClassificationRewardModel
from erprm.report.tables import Table, curves_table
from erprm.runs.atomic import write_text
from erprm.steps import Solution

__all__ = ["Publication", "model_card", "read_curves", "write_card"]

CARD_FILE = "README.md"
_TAGS = ("process-reward-model", "prm", "er-prm", "reward-model", "best-of-n", "math", "reasoning", "erprm")
_EXAMPLE = Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "The answer is: 7"])


@dataclass(frozen=True)
class Publication:
    """What a card says of a model that the model itself does not know.

    Attributes:
        name: of the repository, ``ORG/NAME``.
        trained_on: what identifies the training data, as a data module's ``identity`` gives it.
        curves: of each pool, the accuracy of each way of choosing among n candidates.
        licence: the hub's identifier of the licence, such as ``apache-2.0``.
    """

    name: str
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    licence: str | None = None


def write_card(folder: Path, model: ProcessRewardModel, publication: Publication, two_classes: bool = False) -> None:
    """Writes the README of a model folder; ``two_classes``: of one that is saved as a token classifier."""
    write_text(model_card(model, publication, two_classes), folder / CARD_FILE)


def read_curves(files: Sequence[Path]) -> dict[str, dict[str, Curve]]:
    """The curves of the pools, by the name of each, of files ``results.json`` that ``BestOfN`` wrote in ``test``.

    Raises:
        InputError: naming the file, if it is no such file.
    """
    curves = {}
    for file in files:
        try:
            methods = json.loads(file.read_text(encoding="utf-8"))["methods"]
            curves[file.resolve().parent.name] = {name: Curve(**curve) for name, curve in methods.items()}
        except OSError as error:
            raise InputError(f"results: {file} cannot be read: {error.strerror}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"results: {file} is no results.json of best-of-n, as erprm test writes it: no curves in `methods`"
            ) from error
    return curves


def model_card(model: ProcessRewardModel, publication: Publication, two_classes: bool = False) -> str:
    """The text of :func:`write_card`."""
    of_data = publication.trained_on
    facts = {
        "base model": model.backbone_path if is_hub_id(model.backbone_path) else Path(model.backbone_path).name,
        "labels": of_data.get("data.labels"),
        "eta": of_data.get("data.eta"),
        "hash of the rollouts": of_data.get("hash of data.rollouts"),
        "made with": f"erprm {__version__}",
    }
    rows = [[name, str(value)] for name, value in facts.items() if value is not None]
    tables = [Table("Training", ["", "value"], rows, align="ll")]
    tables += [_table(pool, curves) for pool, curves in publication.curves.items() if curves]
    parts = [
        _metadata(model, publication, two_classes),
        f"# {publication.name.partition('/')[2]}",
        "A process reward model: it scores every step of a solution. It was trained as in [Entropy-Regularized Process "
        "Reward Model](https://arxiv.org/abs/2412.11006).",
        *(f"## {table.title}\n\n{table.markdown()}" for table in tables),
        "## Use",
        *_snippets(model, publication.name, two_classes),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _metadata(model: ProcessRewardModel, publication: Publication, two_classes: bool) -> str:
    entries: dict[str, Any] = {"library_name": "transformers", "tags": list(_TAGS)}
    if two_classes or isinstance(model, TokenClassificationRewardModel):
        entries["pipeline_tag"] = "token-classification"
    if is_hub_id(model.backbone_path):
        entries["base_model"] = model.backbone_path
    if publication.licence is not None:
        entries["license"] = publication.licence
    # JSON values are YAML.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in entries.items()), "---"])


def _table(pool: str, curves: Mapping[str, Curve]) -> Table:
    known = next(iter(curves.values())).n
    return curves_table(f"Accuracy on {pool}", curves, [n for n in powers_of_two(max(known)) if n in known])


def _snippets(model: ProcessRewardModel, name: str, two_classes: bool) -> list[str]:
    if isinstance(model, TokenClassificationRewardModel):
        two_classes = True
    elif type(model).step_logits is not ProcessRewardModel.step_logits:
        return [f"Steps are judged by the head of its class, `{type(model).__name__}`."]
    encoder = model.step_encoder
    encoded = encoder.encode(_EXAMPLE)
    ids, tags = encoded.input_ids, encoded.tag_positions
    text = encoder.tokenizer.decode(ids)
    if encoder.tokenizer(text, add_special_tokens=False).input_ids == ids:
        tokens = f"tokenizer({text!r}, add_special_tokens=False).input_ids"
    else:  # the tokenizer splits the text otherwise than its parts
        tokens = f"{ids}  # {text!r}"
    tag = ids[tags[0]]
    by_id = [place for place, token in enumerate(ids) if token == tag] == tags
    places = f"[place for place, token in enumerate(input_ids) if token == {tag}]" if by_id else str(tags)
    if two_classes:
        kind, scores = "TokenClassification", "logits.softmax(-1)[:, 1]"
        vllm = f"""llm = LLM("{name}", runner="pooling")
(output,) = llm.encode([{{"prompt_token_ids": input_ids}}], pooling_task="token_classify")
print(output.outputs.data[tags][:, 1])"""
    else:
        labels = [encoder.positive_id, encoder.negative_id]
        kind, scores = "CausalLM", f"logits[:, {labels}].softmax(-1)[:, 0]"
        vllm = f"""llm = LLM("{name}", logprobs_mode="processed_logprobs")
labels = SamplingParams(max_tokens=1, logprobs=2, allowed_token_ids={labels})
outputs = llm.generate([{{"prompt_token_ids": input_ids[: tag + 1]}} for tag in tags], labels)
print([math.exp(output.outputs[0].logprobs[0][{labels[0]}].logprob) for output in outputs])"""
    imports = "from vllm import LLM" if two_classes else "import math\n\nfrom vllm import LLM, SamplingParams"
    return [
        f"""With [transformers](https://huggingface.co/docs/transformers); the scores of two steps, 0 is bad and 1 good:

```python
import torch
from transformers import AutoModelFor{kind}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelFor{kind}.from_pretrained("{name}").eval()
input_ids = {tokens}
tags = {places}
with torch.no_grad():
    logits = model(torch.tensor([input_ids])).logits[0, tags].float()
print({scores})
```""",
        f"With [vLLM](https://docs.vllm.ai), `input_ids` and `tags` as above:\n\n```python\n{imports}\n\n{vllm}\n```",
        f"""With erprm:

```python
from erprm.models import {"AdaptedRewardModel" if two_classes else "ProcessRewardModel"}
from erprm.steps import Solution

model = {"AdaptedRewardModel" if two_classes else "ProcessRewardModel"}.from_pretrained("{name}")
(scores,) = model.score_steps([Solution({_EXAMPLE.question!r}, {list(_EXAMPLE.steps)!r})])
```""",
    ]
