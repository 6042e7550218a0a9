"""Lightning callbacks; each works in a Trainer and with a LightningModule that know nothing else of this package."""

from erprm.callbacks.best_of_n import BestOfN
from erprm.callbacks.export import ExportHF
from erprm.callbacks.run_cost import RunCost
from erprm.callbacks.save_on_signal import SaveOnSignal
from erprm.callbacks.score_writer import StepScoreWriter
from erprm.callbacks.step_evaluation import StepEvaluation
from erprm.callbacks.throughput import Throughput

__all__ = ["BestOfN", "ExportHF", "RunCost", "SaveOnSignal", "StepEvaluation", "StepScoreWriter", "Throughput"]
