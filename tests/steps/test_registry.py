"""Step styles and step formats are found by name or import path, and documented where they are registered."""

import subprocess
import sys
from pathlib import Path

import pytest

from erprm.callbacks import BestOfN
from erprm.data import ProcessRewardDataModule
from erprm.rollout import RolloutConfig
from erprm.steps import STEP_FORMAT_PRESETS, STEP_STYLES, StepFormat, check_step_style, segment_steps, split_steps

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "steps.md").read_text(encoding="utf-8")

CLAIMS = StepFormat(tag=" [STEP]", positive=" yes", negative=" no")
NOT_A_FORMAT = 7


def halves(text: str) -> list[tuple[int, int]]:
    return [(0, len(text) // 2), (len(text) // 2, len(text))]


def overlapping(text: str) -> list[tuple[int, int]]:
    return [(0, len(text)), (1, len(text))]


def blank(text: str) -> list[tuple[int, int]]:
    return [(1, 2)]


def test_a_function_of_the_users_is_a_style_by_its_import_path() -> None:
    assert split_steps("abcd", "tests.steps.test_registry.halves") == ["ab", "cd"]
    assert split_steps("abcd", "tests.steps.test_registry:halves") == ["ab", "cd"]


def test_an_entry_more_in_the_registry_is_a_style_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEP_STYLES, "halves", halves)
    check_step_style("halves")
    assert split_steps("abcd", "halves") == ["ab", "cd"]
    with pytest.raises(ValueError, match="must be one of auto, halves, lines"):
        check_step_style("thirds")


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("no_such_module.f", r"style: 'no_such_module\.f' cannot be imported: No module .* working folder"),
        ("tests.steps.test_registry.nothing", r" cannot be imported: .*nothing.*; it must be one of auto, lines"),
        ("tests.steps.test_registry.NOT_A_FORMAT", r"which is 7 and cannot be called"),
    ],
)
def test_an_import_path_that_leads_to_no_function_is_refused_beforehand(style: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_step_style(style, "style")


@pytest.mark.parametrize(("name", "span"), [("overlapping", r"\(1, 4\)"), ("blank", r"\(1, 2\)")])
def test_spans_that_are_no_steps_are_refused(name: str, span: str) -> None:
    with pytest.raises(ValueError, match=rf"step style 'tests\.steps\.test_registry\.{name}' returned the span {span}"):
        segment_steps("a bc", f"tests.steps.test_registry.{name}")


def test_a_format_of_the_users_is_found_by_its_import_path_and_by_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert StepFormat.preset("tests.steps.test_registry.CLAIMS") == CLAIMS
    assert StepFormat.preset("tests.steps.test_registry.CLAIMS", tag=" T").tag == " T"
    monkeypatch.setitem(STEP_FORMAT_PRESETS, "claims", CLAIMS)
    assert StepFormat.preset("claims") == CLAIMS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module.F", r"step format: 'no_such_module\.F' cannot be imported"),
        ("tests.steps.test_registry.NOT_A_FORMAT", r"7 and no StepFormat; it must be one of er_prm"),
    ],
)
def test_an_import_path_that_leads_to_no_format_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepFormat.preset(name)


@pytest.mark.parametrize("style", sorted(STEP_STYLES))
def test_every_style_is_in_the_documentation_and_in_the_help(style: str) -> None:
    assert f"\n| `{style}` |" in PAGE
    for described in (segment_steps, RolloutConfig, BestOfN.__init__, ProcessRewardDataModule.__init__):
        assert f"``{style}``" in (described.__doc__ or ""), described


@pytest.mark.parametrize("preset", sorted(STEP_FORMAT_PRESETS))
def test_every_preset_is_in_the_documentation(preset: str) -> None:
    assert f"\n| `{preset}` |" in PAGE
    assert f"\n- `{preset}`: " in PAGE


@pytest.mark.parametrize("statement", ["import erprm.steps", "from erprm.steps import StepFormat, split_steps"])
def test_nothing_heavy_is_loaded(statement: str) -> None:
    heavy = {"torch", "transformers", "numpy", "nupunkt", "lightning"}
    program = f"import sys\n{statement}\nprint(sorted(set(sys.modules) & {heavy}))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
