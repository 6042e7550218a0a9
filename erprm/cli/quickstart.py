"""``erprm quickstart``: a small example of the whole loop, in configurations and commands to be edited and repeated."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from erprm.cli.commands import POSITIONAL, parse_settings


@dataclass
class QuickstartConfig:
    """Writes a small example of the whole loop into a new folder, and runs its commands there, on a CPU.

    Attributes:
        folder: the folder; one that was begun before is continued.
        model: folder or hub id of a language model, for policy and reward model; by default a tiny one is made.
        gguf_file: name of a GGUF file in it.
    """

    folder: str = field(default="quickstart", metadata=POSITIONAL)
    model: str | None = None
    gguf_file: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Writes the folder, runs the commands in it, and says what to change for real data."""
    config = parse_settings(QuickstartConfig, arguments)

    from rich.console import Console

    from erprm.cli import main as run_command
    from erprm.cli.demo import quieten
    from erprm.demo.quickstart.folder import COMMANDS, closing_words, write_quickstart

    quieten()
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(config.folder)
    write_quickstart(folder, config.model, config.gguf_file, console)
    console.print(f"\n$ cd {shlex.quote(str(folder))}", style="bold", markup=False)
    with _working_folder(folder):
        for command in COMMANDS:
            console.print(f"\n$ {command}", style="bold", markup=False)
            # In this process, since the libraries take seconds to import.
            if status := run_command(shlex.split(command)[1:]):
                return status
    console.print(f"\nEverything is in {folder}; its README.md explains the files.\n", markup=False)
    console.print(closing_words(folder), markup=False)
    return 0


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
