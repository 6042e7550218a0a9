"""Base of scorers by a served token classifier: turns steps into token ids, and probabilities into scores.

Nothing is tokenised again by what serves the model, so a step's tag is the token it was in training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from erprm.engines.model_files import beside_file, load_tokenizer
from erprm.errors import InputError
from erprm.models.adapters import AdapterError, choose_adapter
from erprm.models.adapters.registry import AdapterSetting
from erprm.models.calibration import calibrated, read_calibration
from erprm.scoring import ScorerError
from erprm.steps import EncodedSolution, Solution, StepEncoder

if TYPE_CHECKING:
    from typing_extensions import Self

_GOOD = 1
# Of probabilities that were computed in 16 bits.
_SUM_TOLERANCE = 0.02


class ServedTokenClassifier(ABC):
    """Scores steps with a model of the classes bad and good at every token, such as ``erprm export`` writes.

    Attributes:
        backbone_path: folder or hub id of the model.
        step_format: layout of its steps.
        calibration: what turns scores into probabilities, if that is asked for.
    """

    def __init__(
        self, model: str, adapter: AdapterSetting, step_format: Mapping[str, Any] | None, calibration: str | None
    ) -> None:
        """Reads configuration, step format and calibration; no weights.

        Raises:
            InputError: if there is no such calibration.
            AdapterError: if there is no such model, or it is no token classifier whose step format is known, or it has
                weights beside its backbone.
        """
        choice = choose_adapter(model, adapter, step_format)
        if (beside := beside_file(model)) is not None:
            raise AdapterError(
                f"{beside} holds weights beside the backbone, which vLLM does not read: score with the class that "
                "wrote it, by erprm predict or its score_steps"
            )
        if choice.head == "label_tokens":
            raise AdapterError(
                f"{model!r} is a causal language model, which is served without its label tokens: turn it into "
                "a token classifier with erprm export --to token-classification, and serve that"
            )
        self.backbone_path = model
        self.step_format = choice.step_format
        self.calibration = read_calibration(calibration, model)

    @cached_property
    def step_encoder(self) -> StepEncoder:
        """The step format on the model's tokenizer."""
        return self.step_format.bind(load_tokenizer(self.backbone_path))

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        """Scores every step of every solution; see :class:`erprm.models.StepScorer`.

        Returns:
            For each solution P(good) of its steps ``[steps]``, float32, on the CPU; calibrated, if that is set.

        Raises:
            StepFormatError: if a solution cannot be laid out.
            ValueError: if a solution is longer than the context; then none has been sent.
            EngineError: if what serves the model has failed.
            ScorerError: if it gives something else than two probabilities for every token, or the calibration is that
                of another model.
        """
        if not solutions:
            return []
        encoded = self.step_encoder.encode_batch(solutions)
        for place, length in self._too_long(encoded).items():
            raise InputError(
                f"the solution of {solutions[place].question[:60]!r} has {length} tokens; {self._place} reads "
                f"{self._context()}"
            )
        classes = self._classify([each.input_ids for each in encoded])
        scores = [
            probabilities_T2[list(each.tag_positions), _GOOD].float().cpu()
            for each, probabilities_T2 in zip(encoded, classes, strict=True)
        ]
        return calibrated(scores, self)

    def too_long(self, solutions: Sequence[Solution]) -> dict[int, int]:
        """The solutions that :meth:`score_steps` would refuse as longer than the context.

        Returns:
            The number of tokens of each, by its place.
        """
        return self._too_long(self.step_encoder.encode_batch(solutions))

    def _too_long(self, encoded: Sequence[EncodedSolution]) -> dict[int, int]:
        context = self._context()
        lengths = enumerate(len(each.input_ids) for each in encoded)
        return {} if context is None else {place: length for place, length in lengths if length > context}

    @abstractmethod
    def close(self) -> None:
        """Ends what this scorer has started; the next use starts it again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def _place(self) -> str:
        """Names what serves the model, for messages."""

    @abstractmethod
    def _context(self) -> int | None:
        """The most tokens of a solution, if known."""

    @abstractmethod
    def _classify(self, inputs: list[list[int]]) -> list[Tensor]:
        """Probabilities of bad and good at every token of each input ``[tokens, 2]``, checked to be that."""


def refuse_no_probabilities(values: Tensor, tokens: int) -> None:
    """Refuses what are no probabilities of two classes at every token.

    Raises:
        ScorerError: if the shape is another, or a value is NaN or not in [0, 1], or the two of a token do not sum to 1.
    """
    if values.shape != (tokens, 2):
        raise ScorerError(
            f"values of shape {list(values.shape)} for {tokens} tokens; expected the probabilities of two classes for "
            "each"
        )
    # Comparisons with NaN are false.
    is_good_T = ((values >= 0) & (values <= 1)).all(-1) & ((values.sum(-1) - 1).abs() <= _SUM_TOLERANCE)
    if not is_good_T.all():
        place = int((~is_good_T).nonzero()[0])
        raise ScorerError(f"values that are not probabilities: {values[place].tolist()} at token {place} of {tokens}")
