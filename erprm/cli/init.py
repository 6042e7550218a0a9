"""``erprm init NAME [DIR]``: copies of the example configurations that are installed with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from erprm.cli.commands import POSITIONAL, key, parse_settings
from erprm.errors import InputError, UsageError
from erprm.lookup import did_you_mean

# The name by which one of the configurations names another, or itself; and a key whose value is one.
_REFERENCE = re.compile(r"\bconfigs/(\w+)\.yaml\b")
_READS = re.compile(rf"^\w+: {_REFERENCE.pattern}", re.MULTILINE)


@dataclass
class InitConfig:
    """Copies an example configuration, and those that it reads, to be edited.

    Attributes:
        name: the configuration, such as ``fit``.
        folder: where the copy goes; a file that is there already is never overwritten.
        show_list: list the configurations with what they need, and copy nothing.
    """

    name: str | None = field(default=None, metadata=POSITIONAL)
    folder: str = field(default=".", metadata=POSITIONAL)
    show_list: bool = field(default=False, metadata=key("list"))


def main(arguments: Sequence[str]) -> int:
    """Copies, or lists."""
    config = parse_settings(InitConfig, arguments)
    if config.show_list:
        from rich.console import Console

        from erprm.report.tables import Table

        rows = [[name, first_comment(text)] for name, text in example_configs().items()]
        Console().print(Table("", ["NAME", "what it does and needs"], rows, align="ll").rich())
        return 0
    if config.name is None:
        raise UsageError("give the NAME of a configuration; erprm init --list shows them")
    for path in copy_config(config.name, Path(config.folder)):
        print(f"{path} written: {first_comment(path.read_text(encoding='utf-8'))}")
    print("The first lines of a file say how to run it, and what the paths in it must lead to.")
    return 0


def example_configs() -> dict[str, str]:
    """The text of each example configuration by its name: those of the wheel, or of the source tree."""
    package = Path(__file__).parents[1]
    # An editable install leaves them where they are, beside the package.
    folder = next(each for each in (package / "configs", package.parent / "configs") if each.is_dir())
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}


def first_comment(text: str) -> str:
    """The first line of a configuration, a comment that says what it does and needs."""
    return text.partition("\n")[0].removeprefix("# ")


def copy_config(name: str, folder: Path) -> list[Path]:
    """Copies a configuration, and those that it reads, so that each names the copies of the others.

    Args:
        name: of the configuration, with or without ``.yaml``.
        folder: where the copies go; made if it is not there. Of those that are read, one that is there already stays.

    Returns:
        The files written.

    Raises:
        UsageError: if there is no such configuration.
        InputError: if its file is there already.
    """
    from erprm.runs.atomic import write_text

    configs = example_configs()
    name = name.removesuffix(".yaml")
    if name not in configs:
        known = ", ".join(configs)
        raise UsageError(f"there is no configuration {name!r}{did_you_mean(name, configs)} (known: {known})")
    paths = {each: folder / f"{each}.yaml" for each in (name, *_READS.findall(configs[name]))}
    if paths[name].exists():
        raise InputError(f"{paths[name]} exists already; move it away, or give another folder")
    written = {each: path for each, path in paths.items() if not path.exists()}
    for each, path in written.items():
        write_text(_REFERENCE.sub(lambda match: str(folder / f"{match[1]}.yaml"), configs[each]), path)
    return list(written.values())
