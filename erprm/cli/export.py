"""``erprm export``: a checkpoint of ``fit`` as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from erprm.cli.commands import CommandParser
from erprm.errors import UsageError

# What a configuration of `fit` holds beside the model; it plays no part here.
_KEYS_OF_FIT = ("seed_everything", "trainer", "data", "weights_only")


@dataclass(frozen=True)
class ExportConfig:
    """Turns a checkpoint of ``fit`` into a Hugging Face folder, adapters merged.

    ``--config`` takes the file of the training, of which ``model`` is used, with all its keys.

    Attributes:
        ckpt_path: the checkpoint: a file, or a folder of parts that several processes have written.
        output: folder to write.
        to: ``hf``, the causal language model; or ``token-classification``, a model of two classes (bad, good) whose
            head is the two label rows of the output layer, for programs that serve such models.
        push: repository ``ORG/NAME`` of the Hugging Face hub to upload the folder to, with a model card. If the upload
            fails, the same command goes on with it.
        licence: the hub's identifier of the licence, such as ``apache-2.0``, for the card.
        results: one or more files ``results.json`` that ``erprm test`` wrote of this model, for the tables of the card.
    """

    ckpt_path: str
    output: str
    to: Literal["hf", "token-classification"] = "hf"
    push: str | None = None
    licence: str | None = None
    results: list[str] | str = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Runs the command."""
    keys = list(arguments)[1:]
    if {"-h", "--help"} & set(keys):
        short = CommandParser(
            prog="erprm export",
            description="Turn a checkpoint of fit into a model folder. --config takes the file of the training, of "
            "which `model` is used; its keys can be set as --model.KEY (erprm fit --help lists them).",
        )
        short.add_class_arguments(ExportConfig)
        short.print_help()
        return 0

    from erprm.cli.lightning import training_parser
    from erprm.models import ProcessRewardModel
    from erprm.models.checkpoint_weights import load_weights
    from erprm.models.hub import open_repository, upload
    from erprm.models.model_card import Publication, read_curves, write_card
    from erprm.models.two_class import check_convertible, save_token_classifier
    from erprm.runs.lock import sole_writer

    parser = training_parser("export", _KEYS_OF_FIT)
    parser.add_class_arguments(ExportConfig)
    settings = parser.instantiate_classes(parser.parse_args(keys))
    model: ProcessRewardModel = settings.model
    if settings.to == "token-classification":
        check_convertible(model)
    if settings.push is None and (settings.licence is not None or settings.results):
        raise UsageError("licence and results are for the card of a model that is uploaded: give push, too")
    results = [settings.results] if isinstance(settings.results, str) else settings.results
    curves = read_curves([Path(file) for file in results])
    if settings.push is not None:
        open_repository(settings.push)
    with sole_writer(Path(settings.output)):
        trained_on = load_weights(model, Path(settings.ckpt_path))
        if settings.to == "token-classification":
            save_token_classifier(model, Path(settings.output))
        else:
            model.save_pretrained(settings.output)
        print(f"{settings.ckpt_path} written to {settings.output}")
        if settings.push is not None:
            publication = Publication(settings.push, trained_on, curves, settings.licence)
            write_card(Path(settings.output), model, publication, settings.to == "token-classification")
            print(f"uploaded to {upload(Path(settings.output), settings.push)}")
    return 0
