"""The folder of a quickstart: stand-ins for a user's own data and models, a configuration for each step, a README."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from string import Template

import yaml
from rich.console import Console

from erprm.data.pools import read_pool
from erprm.demo.quickstart.worlds import quickstart_world
from erprm.demo.stages import Demo
from erprm.demo.world import World
from erprm.errors import InputError
from erprm.runs.atomic import write_text
from erprm.runs.folder import MANIFEST
from erprm.steps import StepFormat

INPUTS = "inputs"
# What is typed in the folder, one after the other.
COMMANDS = (
    "erprm rollout --config rollout.yaml",
    "erprm fit --config fit.yaml",
    "erprm score --config score.yaml",
    "erprm test --config test.yaml",
    "erprm report runs/test --labels+ rollouts",
)
_OPENING = "Do not read anything into the numbers"
_UNTRAINED = (
    "\nthe policy is a tiny Llama that knows solutions of these very problems by heart, wrong ones too, and the\n"
    "reward model began as an untrained one. From 20 problems it learns nothing that holds for others. Best-of-n\n"
    "then chooses about as random scores would: worse among many candidates, since most distinct texts are wrong."
)
_GIVEN = (
    "\nthe policy is {model}, tuned on {samples} worked solutions, some of them wrong, and the reward model began as\n"
    "{model}. From 20 problems it learns little that holds for others."
)


def write_quickstart(folder: Path, model: str | None, gguf_file: str | None, console: Console) -> None:
    """Writes what is missing in the folder; a configuration that is there, perhaps edited, stays.

    Args:
        folder: a new folder, or one of a quickstart with the same model.
        model: folder or hub id of a language model, for policy and reward model; by default a tiny one from nothing.
        gguf_file: name of a GGUF file in it.
        console: for a line when a part is done.

    Raises:
        InputError: if there is something else in the folder.
    """
    inputs = folder / INPUTS
    if not (inputs / MANIFEST).is_file() and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty, and holds no quickstart; give a new folder")
    world = quickstart_world(model, gguf_file)
    Demo(inputs, world, seed=0, console=console, methods=[]).make_inputs()
    honesty = _UNTRAINED if model is None else _GIVEN.format(model=model, samples=world.recipe.policy_samples)
    values = {
        "commands": "\n".join(f"    {command}" for command in COMMANDS),
        "honesty": honesty,
        **_values(world, inputs),
    }
    for template in files("erprm.demo.quickstart").joinpath("templates").iterdir():
        if not (folder / template.name).exists():
            text = Template(template.read_text(encoding="utf-8")).substitute(values)
            write_text(text, folder / template.name)


def _values(world: World, inputs: Path) -> dict[str, str]:
    """What the configurations of a world have in the places of their ``$names``."""
    pool = f"pool/{next(iter(world.pools.values()))}.jsonl"
    entry = read_pool(inputs / pool)[0]
    written = Counter(text for text in entry.candidates if text.strip()).most_common(1)
    defaults = StepFormat().to_dict()
    step_format = {name: value for name, value in world.step_format.to_dict().items() if value != defaults[name]}
    return {
        "pool": f"{INPUTS}/{pool}",
        "question": _quoted(entry.problem.question),
        "solution": _quoted(written[0][0] if written else "#### 0"),
        "step_format": json.dumps(step_format, ensure_ascii=False),  # JSON is YAML, too.
        "learning_rate": f"{world.recipe.prm_learning_rate:.1e}",
        "max_new_tokens": str(world.sizes.max_new_tokens),
        "row_tokens": str(world.sizes.row_tokens),
        "batch_tokens": str(2 * world.sizes.row_tokens),
        "completions": str(world.sizes.completions),
    }


def _quoted(text: str) -> str:
    """A text as YAML has it on one line, whatever characters a model has put into it."""
    return str(yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True)).rstrip("\n")


def closing_words(folder: Path) -> str:
    """The end of the README: what the numbers are worth, and what to change for real data."""
    _, opening, rest = (folder / "README.md").read_text(encoding="utf-8").partition(_OPENING)
    return opening + rest
