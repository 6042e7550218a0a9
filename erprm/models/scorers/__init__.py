"""Process reward models that vLLM holds, in this machine's processes or behind a URL, as step scorers."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.models.scorers.http import HTTPStepScorer as HTTPStepScorer
    from erprm.models.scorers.settings import ServedModel as ServedModel
    from erprm.models.scorers.settings import is_url as is_url
    from erprm.models.scorers.vllm import VLLMStepScorer as VLLMStepScorer

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
