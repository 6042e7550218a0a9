"""Process reward models that vLLM holds, in this machine's processes or behind a URL, as step scorers."""

from erprm.models.served.http_scorer import HTTPStepScorer, ServedModel, is_url
from erprm.models.served.vllm_scorer import VLLMStepScorer

__all__ = ["HTTPStepScorer", "ServedModel", "VLLMStepScorer", "is_url"]
