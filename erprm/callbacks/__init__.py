"""Lightning callbacks; each also works with a Trainer and a LightningModule from outside this package."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.callbacks.best_of_n import BestOfN as BestOfN
    from erprm.callbacks.export import ExportHF as ExportHF
    from erprm.callbacks.run_cost import RunCost as RunCost
    from erprm.callbacks.save_on_signal import SaveOnSignal as SaveOnSignal
    from erprm.callbacks.score_writer import StepScoreWriter as StepScoreWriter
    from erprm.callbacks.step_evaluation import StepEvaluation as StepEvaluation
    from erprm.callbacks.throughput import Throughput as Throughput

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
