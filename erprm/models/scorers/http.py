"""Step scores by a server: ``vllm serve`` with its pooling runner, asked at ``/pooling``."""

from __future__ import annotations

import base64
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erprm.engines.base import PromptError
from erprm.engines.openai_client import AnswerError, OpenAIServer, Request, ServerError, shown_answer
from erprm.engines.registry import require_package
from erprm.engines.settings import ServerConnection
from erprm.models.adapters import AdapterError
from erprm.models.adapters.registry import AdapterSetting
from erprm.models.backbone.loading import BackboneError
from erprm.models.scorers.served_classifier import ServedTokenClassifier, refuse_no_probabilities
from erprm.models.scorers.settings import is_url
from erprm.scoring import ScorerError, tell_scored

log = logging.getLogger(__name__)

_NO_SUCH_PATH = "is it vllm serve with --runner pooling?"
# Of an answer: eight bytes for each token make eleven characters of base64.
_BYTES_PER_TOKEN = 16
_BYTES_BESIDES = 2**20


class HTTPStepScorer(ServedTokenClassifier):
    """Scores steps with a token classifier behind a URL; one request a solution, many at once, as token ids.

    What fails is tried again; see :mod:`erprm.engines.openai_client`.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        name: str | None = None,
        adapter: AdapterSetting = "auto",
        step_format: dict[str, str | bool | None] | None = None,
        calibration: str | None = None,
        **connection: Any,
    ) -> None:
        """Asks the server what it serves, and reads that model's configuration and tokenizer.

        Args:
            url: address of the server, such as ``http://localhost:8000``.
            model: folder or hub id with the configuration, the step format and the tokenizer of the served model; by
                default where the server has it from, which must then be found under that name here, too.
            name: which of the models that the server serves; by default the first.
            adapter: how steps are laid out for it; see :class:`AdaptedRewardModel`.
            step_format: fields in which its step format differs from the adapter's.
            calibration: file of ``erprm calibrate`` that turns scores into probabilities, or ``auto`` for
                ``calibration.json`` in the folder of the model.
            connection: fields of :class:`erprm.engines.settings.ServerConnection`.

        Raises:
            ImportError: if the package ``openai`` is not installed.
            ServerError: if the server cannot be reached.
            AdapterError: if the model is not to be found here, or is no token classifier whose step format is known.
            ValueError: if the server does not serve the model, or a setting is out of range.
        """
        require_package("openai")
        if not is_url(url):
            raise ValueError(f"url is {url!r}; it must begin with http:// or https://")
        asked = ServerConnection(**connection)
        self.url = url.rstrip("/").removesuffix("/v1")
        hints = {404: _NO_SUCH_PATH}
        self._server = OpenAIServer(f"{self.url}/v1", name, asked, hints)
        card = self._server.model_card("name")
        self._max_model_len = card.max_model_len
        folder = model or card.root or card.name
        try:
            super().__init__(folder, adapter, step_format, calibration)
        except (BackboneError, FileNotFoundError) as error:
            remedy = (
                "" if model else "; model names a folder or hub id with its configuration, step format and tokenizer"
            )
            raise AdapterError(f"{self._place}, from {folder!r}: {error}{remedy}") from error
        log.info("%s: tokens and step format from %s", self._place, folder)

    def close(self) -> None:
        """Nothing is held between calls; the server is not this scorer's."""

    def identity(self) -> dict[str, Any]:
        """What is known of what determines the scores, as JSON values; not the weights."""
        # A server that is told no other name serves a model under its path.
        name = {} if self.served_name == self.backbone_path else {"served_name": self.served_name}
        return {"url": self.url, "_max_model_len": self._max_model_len, "backbone_path": self.backbone_path, **name}

    @property
    def served_name(self) -> str:
        """The name under which the server serves the model."""
        assert self._server.model is not None
        return self._server.model

    @property
    def _place(self) -> str:
        return self._server.place

    def _context(self) -> int | None:
        return self._max_model_len

    def _classify(self, inputs: list[list[int]]) -> list[Tensor]:
        try:
            return self._server.ask_all([self._request(input_ids) for input_ids in inputs])
        except PromptError as error:
            # Lengths have been checked: what it refuses is what it serves, not one solution.
            raise ServerError(str(error)) from error

    def _request(self, input_ids: list[int]) -> Request[Tensor]:
        body = {
            "model": self._server.model,
            "input": input_ids,
            "task": "token_classify",
            "use_activation": True,
            "encoding_format": "base64",
            "embed_dtype": "float32",
            "endianness": "little",
        }

        def read(answer: Any) -> Tensor:
            probabilities_T2 = _pooled(answer)
            try:
                refuse_no_probabilities(probabilities_T2, len(input_ids))
            except ScorerError as error:
                raise AnswerError(f"it has {error}") from error
            tell_scored(1)
            return probabilities_T2

        return Request(f"{self.url}/pooling", body, read, _BYTES_BESIDES + _BYTES_PER_TOKEN * len(input_ids))


def _pooled(answer: Any) -> Tensor:
    """The pairs of values in an answer of vLLM's ``/pooling`` to one input."""
    try:
        (of_input,) = answer["data"]
        values = np.frombuffer(base64.b64decode(of_input["data"], validate=True), dtype="<f4").astype(np.float32)
        return torch.from_numpy(values).reshape(-1, 2)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise AnswerError(f"it is {shown_answer(answer)}, not as vLLM's /pooling answers") from error
