"""``erprm report RUN...``: the results of some runs as one HTML page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from erprm.cli.commands import POSITIONALS, parse_settings
from erprm.eta import read_etas


@dataclass
class ReportConfig:
    """Writes the results of some runs as one HTML page, with every solution they chose from, to be opened in a browser.

    Attributes:
        runs: folders that ``erprm test``, ``erprm fit`` or ``erprm ablate`` wrote to, each as ``FOLDER`` or
            ``NAME=FOLDER``.
        out: the page to write.
        title: its title.
        labels: rollout folders, or JSON files of ``erprm data stats``, for histograms of labels.
        etas: the etas at which labels of rollouts are counted.
        max_solutions: solutions of a pool that can be looked at; of more, each problem keeps those ranked highest, and
            the page says so. 0 leaves the solutions out.
    """

    runs: list[str] = field(metadata=POSITIONALS)
    out: str = "report.html"
    title: str = "Process reward models, evaluated"
    labels: list[str] = field(default_factory=list)
    etas: str | Sequence[float | str] = field(default_factory=lambda: [0.0, 2.0, float("inf")])
    max_solutions: int = 20_000

    def __post_init__(self) -> None:
        read_etas(self.etas)
        if self.max_solutions < 0:
            raise ValueError(f"max_solutions is {self.max_solutions}; it must be at least 0")


def main(arguments: Sequence[str]) -> int:
    """Writes the page."""
    config = parse_settings(ReportConfig, arguments)

    from erprm.report.page.content import page_content
    from erprm.report.page.document import write_document
    from erprm.runs.atomic import refuse_input

    refuse_input(config.out, config.labels)
    content = page_content(config.runs, config.labels, read_etas(config.etas), config.max_solutions, config.title)
    size = write_document(content, Path(config.out))
    for path in (path for pool in content["pools"] for path in pool["missing"]):
        print(f"{path} is not there: the solutions of this pool are left out", file=sys.stderr)
    print(f"{config.out} written ({size / 1e6:.1f} MB)")
    return 0
