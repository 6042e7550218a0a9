"""The configuration that a LightningCLI command writes into the folder of its run."""

import uuid
from pathlib import Path

import lightning as L
import pytest

from erprm.cli.lightning import ErprmArgumentParser, WholeConfig
from erprm.runs.lock import sole_writer


def write_config(folder: Path, stage: str) -> None:
    parser = ErprmArgumentParser()
    parser.add_argument("--eta", type=float)
    callback = WholeConfig(parser, parser.parse_args(["--eta=2"]), config_filename="resolved.yaml", overwrite=True)
    callback.setup(L.Trainer(accelerator="cpu", default_root_dir=folder, logger=False), L.LightningModule(), stage)


@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_what_a_killed_run_left_of_it_is_removed(tmp_path: Path, stage: str) -> None:
    (tmp_path / f".resolved.yaml.{uuid.uuid4().hex}.tmp").touch()
    write_config(tmp_path, stage)
    assert [path.name for path in tmp_path.iterdir()] == ["resolved.yaml"]
    assert (tmp_path / "resolved.yaml").read_text(encoding="utf-8") == "eta: 2.0\n"


def test_a_run_that_begins_as_another_writes_its_own_is_not_refused(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "resolved.yaml"):
        write_config(tmp_path, "test")
