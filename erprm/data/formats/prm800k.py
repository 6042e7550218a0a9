r"""PRM800K (arXiv 2305.20050; https://github.com/openai/prm800k): human ratings of the steps of MATH solutions.

    {"question": {"problem": "What is 3 and 4 more?", "ground_truth_answer": "7"},
     "label": {"finish_reason": "solution", "steps": [
        {"completions": [{"text": "3 + 4 = 8.", "rating": -1}, {"text": "Let's see.", "rating": 0}],
         "human_completion": {"text": "3 + 4 = 7.", "rating": null}, "chosen_completion": null},
        {"completions": [{"text": "So it is 7.\n\n# Answer\n\n7", "rating": 1}],
         "human_completion": null, "chosen_completion": 0}]}}

At each step several completions were rated, one was chosen, and the solution went on from it. A row becomes several
records: the chosen steps are one, and every other rated completion, with the chosen steps before it, is one more. The
row above gives ``3 + 4 = 7. | So it is 7.``, ``3 + 4 = 8.`` and ``Let's see.``

======================================  ==============================================================
rating of a completion                  label
======================================  ==============================================================
1                                       1
0, neither right nor wrong              1; ``neutral`` sets another, or none
-1                                      0
null                                    none
a step written by the labeler (null)    1: they were asked for a right step where all others were wrong
======================================  ==============================================================

A chosen step without a label ends the record before it, and another completion without one gives no record. Where
nothing was chosen, the solution ends; in the second phase of the data that is its first wrong step. A row without any
label, such as one whose problem was reported as broken, gives no record.

``correct``: the last step gives an answer (``# Answer``) and was not rated -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from erprm.data.formats.labelled import Row, RowParser, labelled_record
from erprm.data.records import RecordError, RolloutRecord, unexpected

FIELDS = ("question", "label")
_ANSWER = "# Answer"


@dataclass(frozen=True)
class _Step:
    """A step as it is rated; ``label`` is None where it has no label."""

    text: str
    label: float | None
    rating: int | None


def prm800k_parser(neutral: float | None = 1.0, alternatives: bool = True) -> RowParser:
    """Parser of the rows of one file.

    Args:
        neutral: label of a step rated 0; None leaves it without a label.
        alternatives: make records of completions that were not chosen, too. Without them a solution whose last step
            was not chosen ends with the first completion of that step: in the second phase of the data its own step.

    Raises:
        ValueError: if ``neutral`` is not a number in [0, 1].
    """
    if neutral is not None and not 0 <= neutral <= 1:
        raise ValueError(f"neutral is {neutral}; it must be null or a number in [0, 1]")
    labels = {1: 1.0, 0: neutral, -1: 0.0, None: None}

    def records(row: Row, where: str) -> list[RolloutRecord]:
        question, label = row["question"], row["label"]
        for field, value, key in (("question", question, "problem"), ("label", label, "steps")):
            if not isinstance(value, dict) or key not in value:
                raise unexpected(field, value, f"an object with the key {key!r}", where)
        if not isinstance(question["problem"], str):
            raise unexpected("question.problem", question["problem"], "a text", where)
        answer = question.get("ground_truth_answer")
        return [
            labelled_record(
                question["problem"],
                [step.text for step in steps],
                [step.label for step in steps if step.label is not None],
                source="prm800k",
                answer=answer if isinstance(answer, str) else "",
                correct=_ANSWER in steps[-1].text and steps[-1].rating != -1,
                where=where,
            )
            for steps in _solutions(label["steps"], labels, alternatives, where)
        ]

    return records


def _solutions(
    steps: object, labels: dict[int | None, float | None], alternatives: bool, where: str
) -> Iterator[list[_Step]]:
    """The solutions of a row whose steps all have labels, that of the chosen steps first."""
    if not isinstance(steps, list):
        raise unexpected("label.steps", steps, "a list", where)
    chosen_steps: list[_Step] = []
    others: list[list[_Step]] = []
    for number, step in enumerate(steps):
        place = f"label.steps[{number}]"
        completions, chosen = _completions(step, labels, place, where)
        rest = [completion for completion in completions if completion is not chosen]
        others += [[*chosen_steps, completion] for completion in rest if completion.label is not None]
        if chosen is None or chosen.label is None:
            ends_unchosen = chosen is None and bool(rest) and rest[0].label is not None
            if ends_unchosen and not alternatives:
                chosen_steps.append(rest[0])
            # With alternatives, each completion of this step is a solution that has the chosen steps in it.
            is_covered = alternatives and any(len(other) == len(chosen_steps) + 1 for other in others)
            break
        chosen_steps.append(chosen)
    else:
        is_covered = False
    if chosen_steps and not is_covered:
        yield chosen_steps
    if alternatives:
        yield from others


def _completions(
    step: Any, labels: dict[int | None, float | None], place: str, where: str
) -> tuple[list[_Step], _Step | None]:
    """The rated completions of a step, and which was chosen; None if none was."""
    if not isinstance(step, dict):
        raise unexpected(place, step, "an object with the key 'completions'", where)
    completions = []
    for number, completion in enumerate(step.get("completions") or []):
        field = f"{place}.completions[{number}]"
        text = completion.get("text") if isinstance(completion, dict) else None
        if not isinstance(text, str):
            raise unexpected(field, completion, "an object with a text under 'text'", where)
        rating = completion.get("rating")
        if isinstance(rating, bool) or not isinstance(rating, int | None) or rating not in labels:
            raise unexpected(f"{field}.rating", rating, "-1, 0, 1 or null", where)
        completions.append(_Step(text, labels[rating], rating))
    index, human = step.get("chosen_completion"), step.get("human_completion")
    if index is None:
        if human is None:
            return completions, None
        if not isinstance(human, dict) or not isinstance(human.get("text"), str):
            raise unexpected(f"{place}.human_completion", human, "null or an object with a text under 'text'", where)
        return completions, _Step(human["text"], 1.0, None)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(completions):
        raise RecordError(
            f"{where}: field '{place}.chosen_completion' is {index!r}; expected null or the number of one of "
            f"{len(completions)} completion(s), from 0"
        )
    return completions, completions[index]
