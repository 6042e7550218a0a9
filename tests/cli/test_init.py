"""``erprm init``: example configurations that are installed with the package are listed and copied."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from erprm.cli import main
from tests.conftest import REPOSITORY

CONFIGS = {path.stem: path for path in sorted((REPOSITORY / "configs").glob("*.yaml"))}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_shows_each_config_with_its_first_comment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["init", "--list"]) == 0
    rows = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [name, path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")] for name, path in CONFIGS.items()
    ]


@pytest.mark.parametrize("path", CONFIGS.values(), ids=CONFIGS)
def test_the_first_comment_of_a_config_says_what_it_needs(path: Path) -> None:
    assert re.match(r"# [A-Z].*\. Needs .*\.$", path.read_text(encoding="utf-8").splitlines()[0])


@pytest.mark.parametrize(("arguments", "file"), [(["fit"], "fit.yaml"), (["fit.yaml", "my/new"], "my/new/fit.yaml")])
def test_a_copy_has_the_values_of_the_config_and_names_itself(arguments: list[str], file: str) -> None:
    assert main(["init", *arguments]) == 0
    assert [str(path) for path in Path().rglob("*") if path.is_file()] == [file]
    copied = Path(file).read_text(encoding="utf-8")
    assert yaml.safe_load(copied) == yaml.safe_load(CONFIGS["fit"].read_text(encoding="utf-8"))
    assert f"#   erprm fit --config {file}\n" in copied


def test_a_config_comes_with_the_one_that_it_reads() -> None:
    assert main(["init", "demo_ablation", "my"]) == 0
    assert yaml.safe_load(Path("my/demo_ablation.yaml").read_text(encoding="utf-8"))["fit"] == "my/demo_fit.yaml"
    Path("my/demo_fit.yaml").write_text("seed_everything: 7\n", encoding="utf-8")
    assert main(["init", "demo_worlds", "my"]) == 0
    assert Path("my/demo_fit.yaml").read_text(encoding="utf-8") == "seed_everything: 7\n"


def test_a_file_that_is_there_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fit.yaml").write_text("mine", encoding="utf-8")
    assert main(["init", "fit"]) == 1
    assert capsys.readouterr().err == ("erprm init: fit.yaml exists already; move it away, or give another folder\n")
    assert Path("fit.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke_cup"], "no configuration 'smoke_cup'; did you mean 'smoke_cpu'? (known: best_of_n_gsm8k, "),
        ([], "NAME"),
    ],
)
def test_an_unknown_or_missing_name_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["init", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_the_wheel_holds_the_configs_beside_its_modules(empty_folder: Path) -> None:
    pytest.importorskip("setuptools")
    source = empty_folder / "source"
    for folder in ("erprm", "configs"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    build = "from setuptools import build_meta; build_meta.build_wheel('wheel')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"erprm/configs/{name}.yaml" for name in CONFIGS} <= names
    files = {path.relative_to(source).as_posix() for path in (source / "erprm").rglob("*") if path.is_file()}
    assert {name for name in names if re.match(r"erprm/(?!configs/)", name)} == files

    zipfile.ZipFile(wheel).extractall("installed")
    shutil.rmtree(source)  # Only the wheel is left.
    listing = [sys.executable, "-c", "from erprm.cli.init import example_configs; print(*example_configs())"]
    printed = subprocess.run(listing, cwd="installed", check=True, capture_output=True, text=True, env={}).stdout
    assert printed.split() == list(CONFIGS)
