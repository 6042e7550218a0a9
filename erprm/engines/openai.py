"""Completions by a server that speaks OpenAI's ``/v1/completions``, above all ``vllm serve``.

Prompts go as token ids and sampled token ids come back (``return_token_ids``, vLLM's addition to the protocol).
How requests are sent and repeated: :mod:`erprm.engines.openai_client`.
"""

from __future__ import annotations

import json
import logging
import math
import re
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
from erprm.engines.openai_client import AnswerError, OpenAIServer, Request, shown_answer
from erprm.engines.settings import ServerOptions
from erprm.runs.identity import sha256_of, tokenizer_content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

# A server's generation_config.json must not change the distribution.
_NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
# Of an answer: what is longer than this for each token that it may have is none.
_BYTES_PER_TOKEN = 256
_BYTES_BESIDES = 2**20
# A model may have a few more embeddings than its tokenizer has tokens, to fill up a round number.
_PADDING_TOKENS = 4096
_SURROGATE = re.compile("[\ud800-\udfff]")


class OpenAIEngine:
    """Samples from a model that a server serves.

    Args:
        model: name under which the server serves it.
        base_url: address up to and with ``/v1``.
        tokenizer: local folder or hub id of the tokenizer; by default ``model``.
        options: the other fields of :class:`ServerOptions`.

    Raises:
        ServerError: if the server cannot be reached, or gives no list of models.
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
        self._tokens = range(len(self._tokenizer) + _PADDING_TOKENS)
        self._asks_for_logprobs = False
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
        results = self._server.ask_all([self._request(ids, sampling) for ids in prompt_ids])
        self.usage.prompt += sum(map(len, prompt_ids))
        warn_if_none_stopped(results, sampling)
        return results

    def _request(self, prompt_ids: list[int], sampling: Sampling) -> Request[list[Completion]]:
        most_tokens = min(sampling.max_tokens, self.max_length - len(prompt_ids))
        body = {
            "model": self.name,
            "prompt": prompt_ids,
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": most_tokens,
            "stop": list(sampling.stop) or None,
            "seed": prompt_seed(sampling.seed, prompt_ids),
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "return_token_ids": True,
            **_NEUTRAL,
        }
        if self._asks_for_logprobs:
            # Once, since they cost time: broken weights have no finite one for any prompt.
            body["logprobs"] = 0
            self._asks_for_logprobs = False

        def read(answer: Any) -> list[Completion]:
            completions = [
                self._completion(prompt_ids, choice, most_tokens, sampling) for choice in _choices(answer, sampling.n)
            ]
            self.usage.completion += sum(len(completion.token_ids) for completion in completions)
            return completions

        most_bytes = _BYTES_BESIDES + _BYTES_PER_TOKEN * sampling.n * (len(prompt_ids) + most_tokens)
        return Request("/completions", body, read, most_bytes)

    def _completion(
        self, prompt_ids: list[int], choice: dict[str, Any], most_tokens: int, sampling: Sampling
    ) -> Completion:
        text, finish_reason, token_ids = (choice.get(name) for name in ("text", "finish_reason", "token_ids"))
        if finish_reason not in ("stop", "length"):
            raise AnswerError(f"a completion ended with reason {shown_answer(finish_reason)}; expected stop or length")
        if not isinstance(text, str) or _SURROGATE.search(text):
            raise AnswerError(f"a completion has the text {shown_answer(text)}; expected Unicode text")
        _refuse_nan(choice.get("logprobs"))
        if token_ids is None:
            if not self._told_about_tokens:
                log.warning(
                    "%s returns no token ids: texts are tokenised again, perhaps differently", self._server.place
                )
                self._told_about_tokens = True
            again = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            return Completion(text, tuple(again), finish_reason)
        if not isinstance(token_ids, list) or not all(type(each) is int and each in self._tokens for each in token_ids):
            raise AnswerError(f"a completion has the token ids {shown_answer(token_ids)}; expected the policy's")
        if len(token_ids) > most_tokens or (text and not token_ids):
            raise AnswerError(f"{shown_answer(text)} has {len(token_ids)} tokens; expected 1 to {most_tokens}")
        return completion_of_tokens(self._tokenizer, prompt_ids, token_ids, finish_reason, sampling.stop)

    def _served_context(self) -> int:
        card = self._server.model_card("model")
        if card.max_model_len is None:
            raise ValueError(f"{self._server.place} does not say how long its context is: set server.max_model_len")
        # Other servers may refuse a request for them.
        self._asks_for_logprobs = card.owned_by == "vllm"
        return card.max_model_len


def _choices(answer: Any, n: int) -> list[dict[str, Any]]:
    """The completions of an answer in their order."""
    found = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise AnswerError(f"it is {shown_answer(answer)}, which holds no completions")
    numbered = [choice for choice in found if isinstance(choice, dict) and type(choice.get("index")) is int]
    ordered = sorted(numbered, key=lambda choice: int(choice["index"]))
    if len(found) != n or [choice["index"] for choice in ordered] != list(range(n)):
        raise AnswerError(f"{len(found)} completions came back, {shown_answer(found)}, where {n} were asked for")
    return ordered


def _refuse_nan(logprobs: Any) -> None:
    """Refuses log probabilities of sampled tokens that come of broken weights; NaN is null in some servers' JSON."""
    found = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    for value in found if isinstance(found, list) else []:
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise AnswerError(
                f"a token has the log probability {shown_answer(value)}: the model's logits are not finite, as with "
                "NaN in its weights"
            )
