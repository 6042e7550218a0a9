"""Steps of a solution: text <-> steps <-> token ids.

Every part of the package that turns a solution into tokens (training, scoring, export, serving) does it here, so a
step tag cannot tokenise one way in training and another way in scoring.
"""

from erprm.steps.auto import choose_style
from erprm.steps.encoder import EncodedSolution, StepEncoder
from erprm.steps.format import STEP_FORMAT_PRESETS, StepFormat
from erprm.steps.layout import Layout
from erprm.steps.solution import Solution, StepFormatError
from erprm.steps.split import STEP_STYLES, StepSplit, check_step_style, segment_steps, split_steps

__all__ = [
    "STEP_FORMAT_PRESETS",
    "STEP_STYLES",
    "EncodedSolution",
    "Layout",
    "Solution",
    "StepEncoder",
    "StepFormat",
    "StepFormatError",
    "StepSplit",
    "check_step_style",
    "choose_style",
    "segment_steps",
    "split_steps",
]
