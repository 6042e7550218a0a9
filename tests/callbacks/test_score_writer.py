from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from erprm.callbacks import StepScoreWriter


def test_scores_do_not_replace_the_solutions_that_are_read(tmp_path: Path) -> None:
    solutions = tmp_path / "solutions.jsonl"
    solutions.write_text("{}\n")
    trainer: Any = SimpleNamespace(world_size=1, datamodule=SimpleNamespace(predict_solutions=str(solutions)))
    with pytest.raises(ValueError, match=r"solutions\.jsonl: is the input; give the output another name"):
        StepScoreWriter(str(solutions)).on_predict_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert [path.read_text() for path in tmp_path.iterdir()] == ["{}\n"]
