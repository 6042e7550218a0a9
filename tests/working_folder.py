"""The files that commands and snippets of README.md, docs/ and configs/ find in the working folder."""

import json
import shutil
from pathlib import Path

from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from tests.conftest import REPOSITORY
from tests.tiny import make_record, make_tokenizer, save_tiny_llama

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def make_working_folder(folder: Path) -> Path:
    """Fills a folder.

    - ``my-llama``: a tiny causal language model with random weights, with a tokenizer that has a chat template
    - ``prm``: the same as a process reward model, the way ``save_pretrained`` writes it
    - ``rollouts.parquet``, ``pool.jsonl`` (4 candidates a problem), ``solutions.jsonl``, ``problems.jsonl``
    - ``configs`` and ``examples/step_labels``: those of the repository
    """
    save_tiny_llama(folder / "my-llama")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder / "my-llama")
    ProcessRewardModel.from_pretrained(folder / "my-llama").save_pretrained(folder / "prm")
    rewards = [[[1.0, 0.0, 1.0, 1.0], [1.0]], [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0]]]
    write_records([make_record(i // 2, rewards[i % 2]) for i in range(24)], folder / "rollouts.parquet")
    questions = [f"What is {i} and 4 more?" for i in range(4)]
    _write_rows(
        folder / "pool.jsonl",
        [
            {"question": q, "answer": str(i + 4), "candidates": [f"{i} + 4 = {n}.\n#### {n}" for n in range(3, 7)]}
            for i, q in enumerate(questions)
        ],
    )
    _write_rows(
        folder / "solutions.jsonl",
        [{"question": q, "solution": f"{i} + 4 = {i + 4}.\nThe answer is: {i + 4}"} for i, q in enumerate(questions)],
    )
    _write_rows(folder / "problems.jsonl", [{"question": q, "answer": str(i + 4)} for i, q in enumerate(questions)])
    for name in ("configs", "examples/step_labels"):
        shutil.copytree(REPOSITORY / name, folder / name)
    return folder


def _write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
