"""GRPO with an advantage for each step, from a configuration: TRL's trainer, checked, evaluated and resumed."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.grpo.config import GrpoConfig as GrpoConfig
    from erprm.grpo.evaluation import PolicyEvaluation as PolicyEvaluation
    from erprm.grpo.run import run_grpo as run_grpo

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
