"""The ways of benchmarks/scoring.py on a tiny model: all give the same scores."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, load_script
from tests.tiny import make_tokenizer

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    yield load_script(REPOSITORY / "benchmarks" / "scoring.py")
    sys.modules.pop("training", None)


def test_64_candidates_get_the_same_scores_in_every_way(
    tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    row: dict[str, object] = {"question": "What is 3 and 4 more?"}
    for number, name in enumerate(MODELS):
        steps = [f"Step {step}: {step} + 34 = {number}." for step in range(1, number + 2)]
        row[name] = {"solution": "\n".join(steps), "is_correct": True}
    (tmp_path / "examples.jsonl").write_text(json.dumps(row), encoding="utf-8")
    solutions = benchmark.candidates(tmp_path / "examples.jsonl", 1, 64)
    assert len({tuple(solution.steps) for solution in solutions}) > 50
    assert {solution.question for solution in solutions} == {"What is 3 and 4 more?"}

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    llama = {**benchmark.QUICK_LLAMA, "vocab_size": len(tokenizer)}
    model, plain = benchmark.make_model(tmp_path / "lm", tmp_path / "tokenizer", llama, " ки", 256)
    with benchmark.torch.no_grad():  # scores that differ from each other, unlike those of tiny weights
        for parameter in [*model.parameters(), *plain.parameters()]:
            parameter.mul_(4)
    scores = benchmark.torch.cat(benchmark.one_forward_a_step(model.step_encoder, plain, solutions))
    assert scores.std() > 0.01
    assert benchmark.compare(model, plain, solutions, rounds=1, batch=16) < 1e-5
    assert "one forward a step" in capsys.readouterr().out
