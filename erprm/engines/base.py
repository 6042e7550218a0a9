"""Interface of engines, the samplers behind a rollout: prompts in, completions out.

Every engine samples completion ``k`` of a prompt from a random stream of its own, which (run seed, prompt tokens, k)
decide. So a completion depends neither on the other prompts of the call, nor on how a run is cut into shards, nor on
where it was interrupted. Engines agree in the distribution, not in the streams.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from erprm.errors import FailedRunError, InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

FinishReason: TypeAlias = Literal["stop", "length"]
Prompt: TypeAlias = str | Sequence[int]


@dataclass(frozen=True)
class Completion:
    """One sampled continuation of a prompt.

    Attributes:
        text: what the tokens add to the prompt's text, without the end-of-text token and without a stop string.
        token_ids: the tokens as they were generated, the end-of-text token or stop string included.
        finish_reason: ``stop`` (end-of-text token or stop string) or ``length`` (``max_tokens`` or context used up).
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of completions.

    Attributes:
        n: completions of each prompt.
        temperature: divides the logits; 0 is greedy decoding.
        top_p: sample from the smallest set of most likely tokens whose probabilities sum to at least this.
        max_tokens: the most tokens of a completion.
        stop: strings that end a completion.
        seed: seed of the run, in [0, 2**63).
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}; it must be at least 1")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be a finite number, at least 0")
        if self.temperature == 0.0 and self.n > 1:
            raise ValueError(
                f"temperature is 0 with n={self.n}: greedy decoding gives {self.n} equal completions; "
                "set a temperature above 0, or n to 1"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; it must be in (0, 1]")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not all(self.stop):
            raise ValueError(f"stop is {self.stop!r}; a stop string must not be empty")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; it must be in [0, 2**63)")


@dataclass
class TokenUsage:
    """Tokens an engine has read and written since it was made.

    Attributes:
        prompt: tokens of the prompts, each prompt once however many completions it has.
        completion: tokens generated.
    """

    prompt: int = 0
    completion: int = 0


class PromptError(InputError):
    """A prompt the engine cannot complete; the message names its index."""


class EngineError(FailedRunError):
    """The engine itself has failed, whatever the prompt was; another one would meet the same."""


@contextmanager
def failing_at(place: str, resumption: str) -> Iterator[None]:
    """Adds to the message of an engine that fails here what it was asked for and, on a second line, how to go on."""
    try:
        yield
    except EngineError as error:
        raise type(error)(f"{place}: {error}\n{resumption}") from error


class Engine(Protocol):
    """A policy that completes prompts.

    Attributes:
        name: the policy's name, as written into records.
        max_length: tokens of the context: prompt and completion together.
        usage: tokens read and written so far.
    """

    name: str
    max_length: int
    usage: TokenUsage

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything in the policy that decides its completions: weights and tokenizer."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """Completes every prompt ``sampling.n`` times; results are in the order of the prompts.

        A text is tokenised with the tokenizer's special tokens; token ids are taken as they are.

        Raises:
            PromptError: if a prompt is empty, or leaves no room for a completion in the context.
            EngineError: if the engine has failed for good.
        """
        ...

    def close(self) -> None:
        """Releases the policy; use ``contextlib.closing(engine)`` to have it called."""
        ...


def request_seed(run_seed: int, prompt_ids: Sequence[int], k: int) -> int:
    """Seed of completion ``k`` of a prompt, in [0, 2**63)."""
    content = struct.pack(f"<qq{len(prompt_ids)}q", run_seed, k, *prompt_ids)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 1


def prompt_seed(run_seed: int, prompt_ids: Sequence[int]) -> int:
    """The seed of a prompt for vLLM, which adds k to it for completion ``k``: in [0, 2**62), so that the sum fits."""
    return request_seed(run_seed, prompt_ids, 0) >> 1


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of a prompt, with the tokenizer's own special tokens if it is a text."""
    return list(tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else list(prompt)


def check_lengths(prompt_ids: Sequence[Sequence[int]], max_length: int) -> None:
    """Refuses prompts that cannot be completed in a context of ``max_length`` tokens.

    Raises:
        PromptError: names the first such prompt by its index.
    """
    for index, ids in enumerate(prompt_ids):
        if not ids:
            raise PromptError(f"prompt {index} is empty; it must have at least one token")
        if len(ids) >= max_length:
            raise PromptError(
                f"prompt {index} has {len(ids)} tokens, which leaves no room for a completion in the policy's context "
                f"of {max_length} tokens"
            )


def stop_place(text: str, stop: tuple[str, ...]) -> int | None:
    """Position of the first stop string in a text; ``None`` if there is none."""
    return min((place for string in stop if (place := text.find(string)) >= 0), default=None)


def completion_of_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[int],
    token_ids: Sequence[int],
    finish_reason: FinishReason,
    stop: tuple[str, ...],
) -> Completion:
    """The completion whose tokens an engine reports, its text as every other engine would give it.

    Args:
        tokenizer: the policy's.
        prompt_ids: the prompt.
        token_ids: the tokens as they were generated, the end-of-text token or stop string included.
        finish_reason: why the engine stopped.
        stop: the stop strings.
    """
    text = decode_after(tokenizer, prompt_ids, token_ids)
    if finish_reason == "stop":
        place = stop_place(text, stop)
        text = text[:place] if place is not None else decode_after(tokenizer, prompt_ids, token_ids[:-1])
    return Completion(text, tuple(token_ids), finish_reason)


def warn_if_none_stopped(completions: Sequence[Sequence[Completion]], sampling: Sampling) -> None:
    """Says so in the log if there are stop strings and yet every completion ran into the limit of tokens."""
    reasons = [completion.finish_reason for of_prompt in completions for completion in of_prompt]
    if sampling.stop and reasons and "stop" not in reasons:
        log.warning(
            "all %d completions were cut off (max_tokens=%d): neither the end-of-text token nor a stop string came; "
            "check stop=%s for what the policy really writes, or raise max_tokens",
            len(reasons),
            sampling.max_tokens,
            list(sampling.stop),
        )


# Tokenizers decide on white space by looking at neighbouring tokens; this many before a text are always enough.
_CONTEXT_TOKENS = 8


def decode_after(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> str:
    """The text that ``token_ids`` add after ``prompt_ids``; special tokens give no text.

    Decoding ``token_ids`` alone would lose the space in front of them with SentencePiece and word-level tokenizers.
    """
    context_ids = list(prompt_ids[-_CONTEXT_TOKENS:])
    context = _decode(tokenizer, context_ids)
    whole = _decode(tokenizer, [*context_ids, *token_ids])
    if not whole.startswith(context):
        # The prompt ends within a character, which shows as U+FFFD until the rest arrives.
        context = context.rstrip("\ufffd")
    return whole[len(context) :]


def _decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return str(tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
