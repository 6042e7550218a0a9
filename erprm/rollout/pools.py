"""Candidate pools sampled once and kept under a key of everything that determines them."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from erprm.data.sources import Problem, load_problems
from erprm.engines.base import Engine, Sampling
from erprm.engines.prompts import PromptFormat
from erprm.engines.registry import chat_content, engine_content, fingerprint_of_own, open_engine
from erprm.engines.settings import EngineSettings
from erprm.inherited_help import inherits_help
from erprm.runs.identity import content_hash, policy_key

if TYPE_CHECKING:
    from erprm.data.pools import PoolProblem

__all__ = ["PoolSampling"]

log = logging.getLogger(__name__)


@inherits_help
@dataclass
class PoolSampling(EngineSettings):
    """Settings of a sampled pool: the policy, the number of candidates and the problems.

    Attributes:
        candidates: candidates of each problem.
        source: where problems come from.
        path: file or hub id of the problems; by default the source's own hub id.
        split: split of the problems.
        limit: at most this many problems.
        prompt: how a question becomes a prompt.
        temperature: sampling temperature.
        top_p: mass of most likely tokens to sample from.
        max_tokens: the most tokens of a candidate.
        stop: strings that end a candidate.
        seed: seed of the pool.
        cache_dir: where pools are kept; by default ``pools`` in ``$ERPRM_CACHE`` or ``~/.cache/erprm``.
    """

    candidates: int = 64
    source: Literal["gsm8k", "math", "jsonl"] = "gsm8k"
    path: str | None = None
    split: str = "test"
    limit: int | None = None
    prompt: PromptFormat = field(default_factory=PromptFormat)
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0
    cache_dir: str | None = None

    @property
    def sampling(self) -> Sampling:
        """Sampling settings of candidates."""
        return Sampling(self.candidates, self.temperature, self.top_p, self.max_tokens, tuple(self.stop), self.seed)


def cached_pool(settings: PoolSampling, default_cache_dir: Path) -> Path:
    """The file of a pool, sampled now if it was not sampled before.

    Returns:
        A pool file for :func:`erprm.data.pools.read_pool`.
    """
    from erprm.data.pools import write_pool

    problems = load_problems(settings.source, settings.path, settings.split, settings.limit)
    folder = Path(settings.cache_dir) if settings.cache_dir else default_cache_dir / "pools"
    determined_by = {
        "model": policy_key(settings.model, settings.gguf_file, settings.engine),
        "prompt": asdict(settings.prompt),
        **chat_content(settings, settings.prompt),
        "sampling": asdict(settings.sampling),
        "dtype": settings.dtype,
        **engine_content(settings),
        **fingerprint_of_own(settings),
        "problems": [asdict(problem) for problem in problems],
    }
    path = folder / f"{content_hash(determined_by)[:24]}.jsonl"
    if not path.exists():
        log.info("sampling %d candidates for each of %d problems into %s", settings.candidates, len(problems), path)
        with closing(open_engine(settings, settings.prompt)) as engine:
            write_pool(sample_pool(engine, problems, settings.prompt, settings.sampling), path)
    return path


def sample_pool(engine: Engine, problems: list[Problem], prompt: PromptFormat, sampling: Sampling) -> list[PoolProblem]:
    """Samples ``sampling.n`` candidates for each problem."""
    from erprm.data.pools import PoolProblem

    prompts = [prompt.token_ids(problem.question, engine.tokenizer) for problem in problems]
    completions = engine.generate(prompts, sampling)
    return [
        PoolProblem(problem, tuple(each.text for each in of_problem), tuple(each.finish_reason for each in of_problem))
        for problem, of_problem in zip(problems, completions, strict=True)
    ]
