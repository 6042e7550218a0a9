"""Completions by a server that speaks OpenAI's ``/v1/completions``, above all ``vllm serve``.

Prompts go as token ids and sampled token ids come back (``return_token_ids``, vLLM's addition to the protocol).
How requests are sent and repeated: :mod:`erprm.engines.openai_client`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from erprm.engines.base import (
    Completion,
    Prompt,
    Sampling,
    TokenUsage,
    check_lengths,
    completion_of_tokens,
    encode_prompt,
    prompt_seed,
    warn_if_none_stopped,
)
from erprm.engines.model_files import load_tokenizer
from erprm.engines.openai_client import OpenAIServer, ServerError
from erprm.engines.settings import ServerOptions
from erprm.runs.identity import sha256_of, tokenizer_content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

# A server's generation_config.json must not change the distribution.
_NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


class OpenAIEngine:
    """Samples from a model that a server serves.

    Args:
        model: name under which the server serves it.
        base_url: address up to and with ``/v1``.
        tokenizer: local folder or hub id of the tokenizer; by default ``model``.
        options: the other fields of :class:`ServerOptions`.

    Raises:
        ServerError: if the server cannot be reached.
        FileNotFoundError: if there is no such tokenizer.
        ValueError: if the server does not serve the model, nobody says how long its context is, or an option is out of
            range.
    """

    def __init__(self, model: str, base_url: str, tokenizer: str | None = None, **options: Any) -> None:
        server = ServerOptions(base_url, tokenizer, **options)
        self.name = model
        self.usage = TokenUsage()
        try:
            self._tokenizer = load_tokenizer(tokenizer or model)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; server.tokenizer names the tokenizer of a served model") from error
        self._server = OpenAIServer(base_url, model, server)
        self.max_length = server.max_model_len or self._served_context()
        self._told_about_tokens = False

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._tokenizer

    def fingerprint(self) -> str:
        """SHA-256 of what is known of a served policy: name, context and tokenizer, but not the weights."""
        known = json.dumps([self.name, self.max_length, tokenizer_content(self._tokenizer)])
        return sha256_of([known.encode("utf-8", "surrogatepass")])

    def close(self) -> None:
        """Nothing is held between calls; the server is not this engine's."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """See :meth:`erprm.engines.base.Engine.generate`.

        Raises:
            ServerError: if a request failed, also after the last retry.
        """
        prompt_ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        check_lengths(prompt_ids, self.max_length)
        results = self._server.ask_all(prompt_ids, lambda client, ids: self._complete(client, ids, sampling))
        self.usage.prompt += sum(map(len, prompt_ids))
        warn_if_none_stopped(results, sampling)
        return results

    async def _complete(self, client: Any, prompt_ids: list[int], sampling: Sampling) -> list[Completion]:
        answer = await client.completions.create(
            model=self.name,
            prompt=prompt_ids,
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_tokens, self.max_length - len(prompt_ids)),
            stop=list(sampling.stop) or None,
            seed=prompt_seed(sampling.seed, prompt_ids),
            frequency_penalty=0.0,
            presence_penalty=0.0,
            extra_body={"return_token_ids": True, **_NEUTRAL},
        )
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        if len(choices) != sampling.n:
            raise ServerError(
                f"{self._server.place}: {len(choices)} completions came back where {sampling.n} were asked for"
            )
        completions = [self._completion(prompt_ids, choice, sampling) for choice in choices]
        self.usage.completion += sum(len(completion.token_ids) for completion in completions)
        return completions

    def _completion(self, prompt_ids: list[int], choice: Any, sampling: Sampling) -> Completion:
        if choice.finish_reason not in ("stop", "length"):
            raise ServerError(f"{self._server.place}: a completion ended with reason {choice.finish_reason!r}")
        token_ids = getattr(choice, "token_ids", None)
        if token_ids is None:
            if not self._told_about_tokens:
                log.warning(
                    "%s returns no token ids: texts are tokenised again, perhaps differently", self._server.place
                )
                self._told_about_tokens = True
            again = self._tokenizer(choice.text, add_special_tokens=False)["input_ids"]
            return Completion(choice.text, tuple(again), choice.finish_reason)
        return completion_of_tokens(self._tokenizer, prompt_ids, token_ids, choice.finish_reason, sampling.stop)

    def _served_context(self) -> int:
        served = self._server.models()
        if self.name not in served:
            raise ValueError(f"model is {self.name!r}, but {self._server.base_url} serves {sorted(served)}")
        context = getattr(served[self.name], "max_model_len", None)
        if context is None:
            raise ValueError(f"{self._server.place} does not say how long its context is: set server.max_model_len")
        return int(context)
