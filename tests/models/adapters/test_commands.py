"""Other people's models in the package's own commands."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import write_records
from erprm.models import AdaptedRewardModel
from erprm.steps import Solution
from tests.models.adapters.checkpoints import MAKE, tiny_tokenizer
from tests.tiny import make_record


@pytest.mark.parametrize("name", ["math_shepherd", "qwen_prm", "trl"])
def test_test_and_fit_run_on_them_with_best_of_n(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MAKE[name](tmp_path / "theirs", tiny_tokenizer())
    write_records([make_record(i) for i in range(4)], tmp_path / "rollouts.parquet")
    question, candidates = "What is 3 and 4 more?", ["3 + 4 = 7.\n#### 7", "So 8.\n#### 8"]
    pool = [{"question": question, "answer": "7", "candidates": candidates}]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    settings = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}},
            "callbacks": [
                {
                    "class_path": "erprm.callbacks.BestOfN",
                    "init_args": {"candidates": "pool.jsonl", "name": "sums", "kind": "gsm8k"},
                }
            ],
        },
        "model": {
            "class_path": "erprm.models.AdaptedRewardModel",
            "init_args": {"backbone": "theirs", "adapter": name, "score_packing": "trees"},
        },
        "data": {"rollouts": "rollouts.parquet", "test_rollouts": "rollouts.parquet", "cache_dir": "cache"},
    }
    (tmp_path / "theirs.yaml").write_text(json.dumps(settings))
    assert main(["test", "--config", "theirs.yaml"]) == 0
    model = AdaptedRewardModel.from_pretrained(tmp_path / "theirs", adapter=name)
    solutions = [Solution(question, [text]) for text in candidates]
    right, wrong = (scores.min().item() for scores in model.score_steps(solutions))
    (result,) = tmp_path.glob("logs/**/best_of_n/sums-*.json")
    assert json.loads(result.read_text())["curves"]["bon"]["mean"] == [0.5, float(right > wrong)]
    assert main(["fit", "--config", "theirs.yaml", "--data.validation_fraction", "0.25"]) == 0
