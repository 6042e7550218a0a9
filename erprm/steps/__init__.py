"""Steps of a solution: text <-> steps <-> token ids.

Every part of the package that turns a solution into tokens (training, scoring, export, serving) does it here, so a
step tag cannot tokenise one way in training and another way in scoring.
"""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.steps.auto import choose_style as choose_style
    from erprm.steps.encoder import EncodedSolution as EncodedSolution
    from erprm.steps.encoder import StepEncoder as StepEncoder
    from erprm.steps.format import STEP_FORMAT_PRESETS as STEP_FORMAT_PRESETS
    from erprm.steps.format import StepFormat as StepFormat
    from erprm.steps.layout import Layout as Layout
    from erprm.steps.solution import Solution as Solution
    from erprm.steps.solution import StepFormatError as StepFormatError
    from erprm.steps.split import STEP_STYLES as STEP_STYLES
    from erprm.steps.split import StepSplit as StepSplit
    from erprm.steps.split import check_step_style as check_step_style
    from erprm.steps.split import segment_steps as segment_steps
    from erprm.steps.split import split_steps as split_steps

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
