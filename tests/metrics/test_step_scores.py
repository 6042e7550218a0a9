import re

import pytest
import torch
from torchmetrics import Metric

from erprm.metrics import (
    FirstErrorAccuracy,
    StepCalibrationError,
    WithinProblemAUROC,
    first_error_accuracy,
    step_calibration_error,
    within_problem_auroc,
)

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.rand(60, generator=GENERATOR)
LABELS = torch.rand(60, generator=GENERATOR)
PROBLEMS = torch.randint(0, 6, (60,), generator=GENERATOR)
LENGTHS = torch.tensor([7, 13, 20, 15, 5])


def test_steps_in_several_updates_give_the_value_of_all_steps() -> None:
    auroc, calibration, first_error = WithinProblemAUROC(), StepCalibrationError(n_bins=5), FirstErrorAccuracy(0.4)
    for steps, solutions in ((slice(0, 20), slice(0, 2)), (slice(20, 60), slice(2, 5)), (slice(60, 60), slice(5, 5))):
        auroc.update(SCORES[steps], LABELS[steps], PROBLEMS[steps])
        calibration.update(SCORES[steps], LABELS[steps])
        first_error.update(SCORES[steps], LABELS[steps], LENGTHS[solutions])
    assert auroc.compute().item() == pytest.approx(within_problem_auroc(SCORES, LABELS, PROBLEMS).item())
    assert calibration.compute().item() == pytest.approx(step_calibration_error(SCORES, LABELS, n_bins=5).item())
    assert first_error.compute().item() == pytest.approx(first_error_accuracy(SCORES, LABELS, LENGTHS, 0.4).item())


@pytest.mark.parametrize(
    ("metric", "empty"),
    [
        (WithinProblemAUROC(), (torch.tensor([]), torch.tensor([]), torch.tensor([], dtype=torch.long))),
        (StepCalibrationError(), (torch.tensor([]), torch.tensor([]))),
        (FirstErrorAccuracy(), (torch.tensor([]), torch.tensor([]), torch.tensor([], dtype=torch.long))),
    ],
)
def test_no_steps_at_all_give_nan(metric: Metric, empty: tuple[torch.Tensor, ...]) -> None:
    metric.update(*empty)
    assert metric.compute().isnan()


def test_updates_refuse_what_the_functions_refuse() -> None:
    with pytest.raises(ValueError, match=re.escape("labels_S[0] is 1.5")):
        WithinProblemAUROC().update(torch.tensor([0.5]), torch.tensor([1.5]), torch.tensor([0]))
    with pytest.raises(ValueError, match=re.escape("scores_S[0] is -1.0")):
        StepCalibrationError().update(torch.tensor([-1.0]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match=re.escape("lengths_M adds up to 2")):
        FirstErrorAccuracy().update(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([2]))
    with pytest.raises(ValueError, match="n_bins must be at least 1, found 0"):
        StepCalibrationError(n_bins=0)
