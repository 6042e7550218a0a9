"""The settings of ``erprm serve``."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from erprm.engines.openai_client import OpenAIServer
from erprm.engines.registry import require_package
from erprm.engines.settings import ServerOptions
from erprm.errors import InputError
from erprm.grading import Kind
from erprm.inherited_help import inherits_help
from erprm.models.scorers.settings import is_url
from erprm.search.settings import GuidedSettings
from erprm.serve.requests import Terms
from erprm.serve.strategy import Options, read_strategy, searches_for

API_KEY = "ERPRM_API_KEY"
RETRIES = 2
"""Further attempts after a failed request to the policy or the scorer: clients wait for the answer."""


@inherits_help
@dataclass
class ServeConfig(GuidedSettings):
    """Answers OpenAI's requests with a search: a policy samples, a step scorer chooses.

    Attributes:
        model: the policy: local folder or hub id, or the URL of a server such as ``vllm serve``, which is asked for the
            name of its first model.
        prompt: how the last message of a chat becomes a prompt; without ``prompt.chat`` a chat may have no other.
        strategy: how a question is answered where the request does not say: a search by a name that ``methods`` of
            ``erprm search`` takes, or by the import path of a class, then perhaps options, as in
            ``beam:width=2,budget=4096``.
        budget: tokens that the policy may generate for a question, where strategies have neither ``budget`` nor ``n``.
        max_budget: the most tokens that a request may ask for.
        max_tokens: the most tokens of a solution; requests may ask for fewer.
        grading: how final answers are read, for a vote: ``gsm8k`` (as numbers), ``math`` (as expressions), or ``auto``.
        name: name of the model in requests; by default the policy's, of a folder the last part of its path.
        host: address to listen at; 0.0.0.0 for all of this machine's.
        port: port to listen at; 0 for any that is free.
        api_key: key that clients must send; by default that in ``$ERPRM_API_KEY``. Without one everybody may ask.
        max_body_bytes: the most bytes of a request.
        max_waiting: requests that may wait; more get status 429.
        max_batch: requests that are answered together.
        gather_s: seconds to wait for more requests after the first of a batch.
        server: where the policy is served; a URL as the policy sets ``base_url``, and ``retries`` is 2.
    """

    model: str = field(metadata={"key": "policy"})
    _: KW_ONLY
    strategy: str = "best_of_n:n=8"
    budget: int = 4096
    max_budget: int = 65536
    grading: Kind = "auto"
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str | None = None
    max_body_bytes: int = 1_000_000
    max_waiting: int = 256
    max_batch: int = 64
    gather_s: float = 0.02
    server: ServerOptions = field(default_factory=lambda: ServerOptions(retries=RETRIES))

    def __post_init__(self) -> None:
        if is_url(self.model):
            self.engine = "openai"
            self.server = replace(self.server, base_url=f"{self.model.rstrip('/').removesuffix('/v1')}/v1")
        super().__post_init__()
        for name in ("budget", "max_body_bytes", "max_waiting", "max_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port is {self.port}; it must be from 0 to 65535")
        if not 0.0 <= self.gather_s <= 10.0:
            raise ValueError(f"gather_s is {self.gather_s}; it must be from 0 to 10")
        if self.name is not None and (not self.name.strip() or "@" in self.name):
            raise ValueError(f"name is {self.name!r}; it must be a text without @, behind which a strategy stands")
        terms = self.terms("")
        tokens = terms.strategy.budget(self.max_tokens, self.budget)
        if not self.max_tokens <= tokens <= self.max_budget:
            raise ValueError(
                f"strategy {self.strategy!r} may take {tokens} tokens; it must be at least max_tokens "
                f"({self.max_tokens}), and at most max_budget ({self.max_budget})"
            )

    @property
    def key(self) -> str | None:
        """The key that clients must send."""
        return self.api_key if self.api_key is not None else os.environ.get(API_KEY) or None

    def terms(self, policy: str) -> Terms:
        """The terms on which requests are answered.

        Args:
            policy: name of the policy.
        """
        name = self.name or (Path(policy).resolve().name if Path(policy).is_dir() else policy)
        if "@" in name:
            raise InputError(
                f"the policy is called {name!r}; set name to a text without @, behind which a strategy stands"
            )
        searches = searches_for(self.strategy)
        options = Options(select=self.select, vote_eta=self.vote_eta)
        return Terms(
            name=name,
            prompt=self.prompt,
            decoding=self.decoding,
            strategy=read_strategy(self.strategy, searches, options),
            options=options,
            searches=searches,
            budget=self.budget,
            max_budget=self.max_budget,
        )

    def located(self) -> ServeConfig:
        """The same with the policy's name in the place of its URL.

        Raises:
            ImportError: if the package ``openai`` is not installed.
            ServerError: if the server cannot be reached.
        """
        if not is_url(self.model):
            return self
        require_package("openai")
        assert self.server.base_url is not None
        card = OpenAIServer(self.server.base_url, None, self.server).model_card("policy")
        if self.server.tokenizer is None and card.root is not None:
            return replace(self, model=card.name, server=replace(self.server, tokenizer=card.root))
        return replace(self, model=card.name)


def check_key(key: str | None) -> None:
    """Refuses a key that no header can hold.

    Raises:
        ValueError: without the key itself.
    """
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key):
        raise InputError("api_key holds white space at its ends, or what is no printable ASCII character")
