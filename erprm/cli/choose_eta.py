"""``erprm choose-eta RESULTS``: the eta of the entropic vote, chosen on graded candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from erprm.cli.commands import POSITIONAL, parse_settings
from erprm.eta import read_etas

if TYPE_CHECKING:
    from erprm.metrics.vote_choice import VoteChoice
    from erprm.report.tables import Table


@dataclass
class ChooseEtaConfig:
    """Chooses eta and the aggregation of step scores for votes, and says what the choice should gain on new problems.

    Attributes:
        results: folder ``best_of_n/NAME`` that ``erprm test`` wrote for a validation pool.
        n: number of candidates to choose from; by default as many as every problem has.
        etas: to choose from; by default from 0 to 30 over the spread of the scores.
        aggregations: of step scores, to choose from; by default all that the scores allow.
        folds: parts of the problems for cross-validation; each is judged by the choice on the others.
        seed: of the parts.
        out: JSON file for the choice.
    """

    results: str = field(metadata=POSITIONAL)
    n: int | None = None
    etas: str | Sequence[float | str] | None = None
    aggregations: list[str] | None = None
    folds: int = 10
    seed: int = 0
    out: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Chooses, and shows the choice."""
    config = parse_settings(ChooseEtaConfig, arguments)

    from rich.console import Console

    from erprm.errors import UsageError
    from erprm.lookup import did_you_mean
    from erprm.metrics.vote_choice import choose_vote
    from erprm.report.candidates import read_scored_pool
    from erprm.runs.atomic import refuse_input, write_finite_json

    if config.out is not None:
        refuse_input(config.out, (path for path in Path(config.results).rglob("*") if path.is_file()))
    pool, scores = read_scored_pool(Path(config.results))
    for name in config.aggregations or ():
        if name not in scores:
            raise UsageError(
                f"aggregations: {name!r} is not among those that the scores allow: {', '.join(scores)}"
                f"{did_you_mean(name, scores)}"
            )
    scores = {name: scores_PN for name, scores_PN in scores.items() if name in (config.aggregations or scores)}
    etas = None if config.etas is None else read_etas(config.etas)
    choice = choose_vote(pool, scores, config.n, etas, config.folds, config.seed)
    Console().print(choice_table(choice).rich())
    if config.out is not None:
        write_finite_json(asdict(choice), Path(config.out))
    return 0


_LABELS = {
    "entropic_vote": "entropic_vote, default eta",
    "hedged_soft_best_of_n": "soft best-of-n, eta chosen on the other folds",
    "hedged_best_of_n": "best of at most n, their number chosen on the other folds",
}


def choice_table(choice: VoteChoice) -> Table:
    """A row for the chosen vote, and one for each other way of choosing with the gain on it."""
    from erprm.report.tables import Table, interval_text

    vote = choice.vote
    rows = [["entropic_vote, eta chosen on the other folds", interval_text(choice.accuracy), "", ""]]
    for name, accuracy in choice.others.items():
        gain = choice.gains[name]
        verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no difference"
        rows.append([_LABELS.get(name, name), interval_text(accuracy), interval_text(gain), verdict])
    etas = sorted({each.eta for each in choice.chosen})
    return Table(
        f"n = {choice.n}: --vote_eta {vote.eta:.3g} --aggregation {vote.aggregation}",
        ["vote", "accuracy, %", "gain of the choice", "shown"],
        rows,
        footnote=f"95% intervals; eta of the folds: {', '.join(f'{eta:.3g}' for eta in etas)}",
    )
