"""Imports inside the package go one way, and heavy third-party libraries stay in the parts that may use them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "erprm"

# From the bottom up: a part may import from its own layer and from those above it in this list.
LAYERS = [
    {"__init__", "lazy", "inherited_help", "tensors"},
    {"errors"},
    {"lookup", "eta"},
    {"rewards", "losses", "steps", "grading", "runs", "metrics"},
    {"scoring"},
    {"data", "engines"},
    {"report"},
    {"models", "rollout"},
    {"estimate"},
    {"callbacks", "raft", "reward_fn", "search"},
    {"serve", "grpo"},
    {"ablation"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF_PART = {part: level for level, parts in enumerate(LAYERS) for part in parts}

LIGHTNING = {"lightning", "lightning_fabric", "pytorch_lightning"}
PARTS_WITH_LIGHTNING = {"data", "models", "callbacks", "raft", "ablation", "demo", "cli"}
# Optional: each wrapped by one module, imported when it is used.
WRAPPED_LIBRARIES = {"vllm", "ray", "openai", "starlette", "uvicorn", "prometheus_client"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    at_module_level: bool
    for_types_only: bool

    @property
    def library(self) -> str:
        return self.target.split(".")[0]

    @property
    def part(self) -> str | None:
        """The part of this package that is imported, None for another package."""
        names = self.target.split(".")
        if names[0] != "erprm":
            return None
        return names[1] if len(names) > 1 and names[1] in LEVEL_OF_PART else "__init__"


def imports_of(source: str) -> list[Import]:
    return list(_imports_below(ast.parse(source), at_module_level=True, for_types_only=False))


def _imports_below(node: ast.AST, *, at_module_level: bool, for_types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, at_module_level, for_types_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: relative import"
            for name in child.names:
                yield Import(f"{child.module}.{name.name}", child.lineno, at_module_level, for_types_only)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_type_block = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports_below(
                child,
                at_module_level=at_module_level and not is_function,
                for_types_only=for_types_only or is_type_block,
            )


def complaints_about(part: str, source: str) -> list[str]:
    """What the module of that part may not import, one line each."""
    complaints = []
    for found in imports_of(source):
        where = f"line {found.line}: {found.target}"
        if found.part is not None and LEVEL_OF_PART[found.part] > LEVEL_OF_PART[part]:
            complaints.append(f"{where}: {part} may not import from {found.part}, which is built on it")
        if found.library in LIGHTNING and part not in PARTS_WITH_LIGHTNING:
            complaints.append(f"{where}: lightning is for {sorted(PARTS_WITH_LIGHTNING)} only")
        if found.library in WRAPPED_LIBRARIES and found.at_module_level and not found.for_types_only:
            complaints.append(f"{where}: import it inside the function that uses it")
    return complaints


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", modules(), ids=name_of)
def test_module_imports_only_what_its_part_may(module: Path) -> None:
    part = part_of(module)
    assert part in LEVEL_OF_PART, f"give {part} a layer in {Path(__file__).name}"
    assert complaints_about(part, module.read_text(encoding="utf-8")) == []


def test_parts_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    imported: dict[str, set[str]] = {part: set() for part in LEVEL_OF_PART}
    for module in modules():
        found = {i.part for i in imports_of(module.read_text(encoding="utf-8")) if i.part is not None}
        imported[part_of(module)] |= found - {part_of(module)}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(f"parts import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("library", sorted(WRAPPED_LIBRARIES))
def test_at_most_one_module_imports_the_library(library: str) -> None:
    importing = [
        name_of(module)
        for module in modules()
        if any(found.library == library for found in imports_of(module.read_text(encoding="utf-8")))
    ]
    assert len(importing) <= 1, f"{library} is imported in {importing}"


def test_every_module_is_named_for_what_it_knows() -> None:
    vague = [name_of(m) for m in modules() if NAMES_THAT_SAY_NOTHING & {m.stem, *m.relative_to(PACKAGE).parts}]
    assert vague == []


# The checks themselves: each must be able to fail. --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "source", "complaint"),
    [
        ("data", "from erprm.models import ProcessRewardModel", "data may not import from models"),
        ("rewards", "from erprm import data", "rewards may not import from data"),
        ("metrics", "def f():\n    import erprm.callbacks.best_of_n", "metrics may not import from callbacks"),
        ("report", "from erprm.raft.evaluation import Evaluation", "report may not import from raft"),
        ("report", "def f():\n    from erprm.models import StepScorer", "report may not import from models"),
        ("callbacks", "from erprm.ablation.results import compare", "callbacks may not import from ablation"),
        ("steps", "if TYPE_CHECKING:\n    from erprm.cli import main", "steps may not import from cli"),
        ("metrics", "def f():\n    from lightning import Trainer", "lightning is for"),
        ("rollout", "import pytorch_lightning as pl", "lightning is for"),
        ("rollout", "import vllm", "import it inside the function"),
        ("rollout", "class A:\n    from openai import OpenAI", "import it inside the function"),
        ("rollout", "try:\n    import ray.data\nexcept ImportError:\n    pass", "import it inside the function"),
    ],
)
def test_a_forbidden_import_is_found(part: str, source: str, complaint: str) -> None:
    (found,) = complaints_about(part, source)
    assert complaint in found


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("models", "from erprm.steps import StepFormat\nfrom erprm.data.records import RolloutRecord"),
        ("rollout", "from erprm.data.records import RolloutRecord"),
        ("rollout", "from erprm import __version__"),
        ("rollout", "from erprm.report.tables import Table"),
        ("data", "import lightning"),
        ("rollout", "def f():\n    import vllm"),
        ("rollout", "if TYPE_CHECKING:\n    import vllm"),
        ("metrics", "import lightning_utilities\nimport rayon"),
    ],
)
def test_an_allowed_import_is_not_found(part: str, source: str) -> None:
    assert complaints_about(part, source) == []
