import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from erprm.raft import RaftConfig
from erprm.raft.fine_tuning import FineTuningError, check_sft, run_in_process_of_its_own, sft_settings


def config(**changes: Any) -> RaftConfig:
    settings = {"scorers": {"er": "prm"}, "learning_rate": 3e-6, "seed": 5, "gguf_file": "it.gguf", **changes}
    return RaftConfig("policy", "run", **settings)


def test_a_round_decides_where_from_on_what_how_fast_and_how_long(tmp_path: Path) -> None:
    sft = {
        "trainer": {"devices": 2, "callbacks": [{"class_path": "a.Callback"}]},
        "model": {"lora": {"rank": 4}, "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}},
        "data": {"max_tokens": 512},
    }
    settings = sft_settings(config(sft=sft), 2, "run/round-1/policy", Path("kept.jsonl"), tmp_path)
    export = {"class_path": "erprm.callbacks.ExportHF", "init_args": {"output": str(tmp_path), "overwrite": True}}
    assert settings == {
        "seed_everything": 5,
        "trainer": {
            "logger": False,
            "enable_checkpointing": False,
            "devices": 2,
            "callbacks": [{"class_path": "a.Callback"}, export],
            "max_epochs": 2,
            "default_root_dir": str(tmp_path / "training"),
        },
        "model": {
            "lora": {"rank": 4},
            "backbone": "run/round-1/policy",
            "gguf_file": None,
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9, "lr": pytest.approx(2e-6)}},
        },
        "data": {"max_tokens": 512, "samples": "kept.jsonl", "seed": 5},
    }
    capped = sft_settings(config(importance_cap=2.0), 1, "policy", Path("kept.jsonl"), tmp_path)
    assert capped["model"]["importance_cap"] == 2.0
    first = sft_settings(config(), 1, "policy", Path("kept.jsonl"), tmp_path)
    assert first["model"]["gguf_file"] == "it.gguf"
    assert first["model"]["optimizer"] == {
        "class_path": "torch.optim.AdamW",
        "init_args": {"weight_decay": 0.0, "lr": pytest.approx(3e-6)},
    }


@pytest.mark.parametrize(
    ("sft", "complaint"),
    [
        ({"model": {"backbone": "x"}}, r"sft\.model\.backbone is set by each round; leave it out"),
        ({"data": {"samples": "x"}}, r"sft\.data\.samples is set by each round"),
        ({"trainer": {"max_epochs": 3}}, r"sft\.trainer\.max_epochs is set by each round"),
        ({"model": {"optimizer": {"init_args": {"lr": 1e-3}}}}, "sets lr, which each round decides; set learning_rate"),
        ({"modle": {}}, r"sft has \['modle'\]; it takes trainer, model and data"),
    ],
)
def test_what_a_round_decides_is_not_set_twice(sft: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_sft(sft)
    check_sft({"model": {"dtype": "float32"}, "trainer": None})


def test_a_training_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    run = run_in_process_of_its_own([sys.executable, "-c", "print('out of memory'); raise SystemExit(3)"])
    with pytest.raises(FineTuningError, match=r"(?s)erprm sft ended with status 3; its output.*out of memory"):
        run(["sft"], tmp_path / "sft.log")
    run_in_process_of_its_own([sys.executable, "-c", "import sys; print(sys.argv[1:])"])(["sft"], tmp_path / "ok.log")
    assert (tmp_path / "ok.log").read_text() == "['sft']\n"


RUN = """
import sys
from pathlib import Path
from erprm.raft.fine_tuning import run_in_process_of_its_own
script = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
run_in_process_of_its_own([sys.executable, "-c", script])([], Path(sys.argv[1]))
"""


def test_a_training_ends_with_the_run_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "sft.log"
    run = subprocess.Popen([sys.executable, "-c", RUN, str(log)])
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    training = psutil.Process(int(log.read_text()))
    run.send_signal(signal.SIGKILL)
    run.wait()
    while training.is_running() and training.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
