"""Step scores by a server: ``vllm serve`` with its pooling runner, asked at ``/pooling``."""

from __future__ import annotations

import base64
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erprm.engines.base import PromptError
from erprm.engines.openai_client import OpenAIServer, ServerError
from erprm.engines.settings import require_package
from erprm.models.adapters import AdapterError
from erprm.models.backbone.loading import BackboneError
from erprm.models.scorers.served_classifier import ServedTokenClassifier
from erprm.models.scorers.settings import is_url
from erprm.scoring.progress import tell_scored
from erprm.scoring.scorer import ScorerError

log = logging.getLogger(__name__)

_NO_SUCH_PATH = "is it vllm serve with --runner pooling?"


class HTTPStepScorer(ServedTokenClassifier):
    """Scores steps with a token classifier behind a URL; one request a solution, many at once, as token ids.

    What fails is tried again; see :mod:`erprm.engines.openai_client`.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        name: str | None = None,
        adapter: str = "auto",
        step_format: dict[str, str | bool | None] | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout_s: float = 600.0,
        retries: int = 20,
    ) -> None:
        """Asks the server what it serves, and reads that model's configuration and tokenizer.

        Args:
            url: address of the server, such as ``http://localhost:8000``.
            model: folder or hub id with the configuration, the step format and the tokenizer of the served model; by
                default where the server has it from, which must then be found under that name here, too.
            name: which of the models that the server serves; by default the first.
            adapter: how steps are laid out for it; see :class:`AdaptedRewardModel`.
            step_format: fields in which its step format differs from the adapter's.
            api_key_env: environment variable that holds the key, if the server wants one.
            concurrency: the most requests under way.
            timeout_s: the most seconds for the answer to a request.
            retries: further attempts of a request.

        Raises:
            ImportError: if the package ``openai`` is not installed.
            ServerError: if the server cannot be reached.
            AdapterError: if the model is not to be found here, or is no token classifier whose step format is known.
            ValueError: if the server does not serve the model, or a setting is out of range.
        """
        require_package("openai")
        if not is_url(url):
            raise ValueError(f"url is {url!r}; it must begin with http:// or https://")
        for key, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
            if value < least:
                raise ValueError(f"{key} is {value}; it must be at least {least}")
        if not timeout_s > 0.0:
            raise ValueError(f"timeout_s is {timeout_s}; it must be above 0")
        self.url = url.rstrip("/").removesuffix("/v1")
        hints = {404: _NO_SUCH_PATH}
        self._server = OpenAIServer(f"{self.url}/v1", name, api_key_env, concurrency, timeout_s, retries, hints)
        served = self._server.models()
        self._server.model = name or next(iter(served), None)
        if self._server.model not in served:
            raise ValueError(f"name is {name!r}, but {self.url} serves {sorted(served)}")
        card = served[self._server.model]
        self._max_model_len: int | None = getattr(card, "max_model_len", None)
        folder = model or getattr(card, "root", None) or card.id
        try:
            super().__init__(folder, adapter, step_format)
        except (BackboneError, FileNotFoundError) as error:
            remedy = (
                "" if model else "; model names a folder or hub id with its configuration, step format and tokenizer"
            )
            raise AdapterError(f"{self._place}, from {folder!r}: {error}{remedy}") from error
        log.info("%s: tokens and step format from %s", self._place, folder)

    def close(self) -> None:
        """Nothing is held between calls; the server is not this scorer's."""

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
            return self._server.ask_all(inputs, self._ask)
        except PromptError as error:
            # Lengths have been checked: what it refuses is what it serves, not one solution.
            raise ServerError(str(error)) from error

    async def _ask(self, client: Any, input_ids: list[int]) -> Tensor:
        answer = await client.post(
            f"{self.url}/pooling",
            body={
                "model": self._server.model,
                "input": input_ids,
                "task": "token_classify",
                "use_activation": True,
                "encoding_format": "base64",
                "embed_dtype": "float32",
                "endianness": "little",
            },
            cast_to=object,
        )
        try:
            (of_input,) = answer["data"]
            probabilities = np.frombuffer(base64.b64decode(of_input["data"]), dtype="<f4").astype(np.float32)
            probabilities_T2 = torch.from_numpy(probabilities).reshape(-1, 2)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ScorerError(f"{self._place} answers {str(answer)[:200]}, not as vLLM's /pooling does") from error
        tell_scored(1)
        return probabilities_T2
