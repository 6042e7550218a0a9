"""The demo's command, at sizes that only show that every part runs."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.models import ProcessRewardModel


@pytest.mark.slow
def test_the_quick_demo_runs_every_stage_and_is_continued_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "--quick", "--output_dir", str(folder)]) == 0
    output = capsys.readouterr().out
    for text in ("PRM, ER labels", "outcome labels only", "majority vote", "pass@n", "n = 4"):
        assert text in output
    assert (folder / "best_of_n.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {"er", "soft", "hard", "outcome", "pool"}
    # Whatever the models are worth, best-of-1 of each is the accuracy of a random candidate.
    for method in ("er", "soft", "hard", "outcome"):
        assert results[method]["bon"]["mean"][0] == pytest.approx(results["pool"]["random"]["mean"][0])
        assert results[method]["bon"]["mean"][-1] <= results["pool"]["pass"]["mean"][-1] + 1e-9
    records = list(read_records(folder / "rollouts"))
    assert {record.source for record in records} == {"dial"}
    assert ProcessRewardModel.from_pretrained(folder / "reward_model_er").step_format.tag == " ки"

    written = (folder / "reward_model_er" / "model.safetensors").stat().st_mtime_ns
    assert main(["demo", "--quick", "true", "--output_dir", str(folder)]) == 0
    assert (folder / "reward_model_er" / "model.safetensors").stat().st_mtime_ns == written

    capsys.readouterr()
    assert main(["demo", "--quick", "true", "--seed", "1", "--output_dir", str(folder)]) == 1
    assert "seed: 0 there, 1 now" in capsys.readouterr().err
