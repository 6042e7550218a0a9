"""``erprm convert``: step-labelled data of other projects as rollout records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from erprm.cli.commands import parse_settings
from erprm.data.importers import import_official
from erprm.data.records import write_records

_IMPORTERS = {"official": import_official}


@dataclass
class ConvertConfig:
    """Turns step-labelled data of other projects into rollout records.

    Attributes:
        input: file to read.
        output: Parquet file to write.
        format: layout of the input; ``official`` is the ER-PRM training data, ``{"text", "value"}``.
    """

    input: str
    output: str
    format: Literal["official"] = "official"


def main(arguments: Sequence[str]) -> int:
    """Converts, and says how many records there are."""
    config = parse_settings(ConvertConfig, arguments)
    count = write_records(_IMPORTERS[config.format](config.input), config.output)
    print(f"{count} records written to {config.output}")
    return 0
