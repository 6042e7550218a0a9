"""Folders of a search that was begun by the code of commit b8531c3."""

import shutil
from pathlib import Path

import pytest

from erprm.rollout.running.shards import OutputFolderError
from erprm.search import BestOfNSearch
from erprm.search.run import run_search
from tests.engines.known_policy import KnownPolicy
from tests.rollout.conftest import make_word_tokenizer
from tests.search.conftest import two_steps
from tests.search.earlier_run import LongIsGood, settings

EARLIER = Path(__file__).parent / "run_of_b8531c3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EARLIER, tmp_path / "run"))


def policy() -> KnownPolicy:
    return KnownPolicy(two_steps, make_word_tokenizer())


def test_a_run_whose_settings_were_told_apart_goes_on(folder: Path, tmp_path: Path) -> None:
    before = (folder / "candidates/part-00000.jsonl").read_bytes()
    run_search(settings(folder, tmp_path / "problems.jsonl"), policy())
    run_search(settings(tmp_path / "whole", tmp_path / "problems.jsonl"), policy())
    assert (folder / "candidates/part-00000.jsonl").read_bytes() == before
    assert (folder / "manifest.json").read_bytes() == (tmp_path / "whole/manifest.json").read_bytes()
    assert (folder / "results.json").read_bytes() == (tmp_path / "whole/results.json").read_bytes()


class ManyCuts(BestOfNSearch):
    """Has a field that was no part of the key."""

    def __init__(self, cuts: tuple[float, ...]) -> None:
        super().__init__()
        self.cuts = cuts


def test_a_run_whose_settings_were_not_told_apart_is_refused_with_both_values(folder: Path, tmp_path: Path) -> None:
    scorer = LongIsGood()
    scorer.cuts = (0.1, 0.2)  # type: ignore[attr-defined]
    with pytest.raises(OutputFolderError, match=r"scorer\.cuts\.tuple: None there, \[0\.1, 0\.2\] now"):
        run_search(settings(folder, tmp_path / "problems.jsonl", scorer=scorer), policy())


def test_another_tuple_in_a_method_s_settings_is_another_run(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    run_search(settings(tmp_path / "run", problems, methods={"mine": ManyCuts((0.1,))}), policy())
    with pytest.raises(OutputFolderError, match=r"methods\.mine\.cuts\.tuple: \[0\.1\] there, \[0\.2\] now"):
        run_search(settings(tmp_path / "run", problems, methods={"mine": ManyCuts((0.2,))}), policy())


def test_a_lambda_in_a_method_s_settings_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    search = ManyCuts(())
    search.rule = lambda text: text  # type: ignore[attr-defined]
    made = settings(tmp_path / "run", tmp_path / "problems.jsonl", methods={"mine": search})
    with pytest.raises(ValueError, match=r"cannot tell whether methods\.mine\.rule is the same in another run"):
        run_search(made, policy())
    assert not (tmp_path / "run").exists()
