"""An exact check of every line of a solution, which says which step is the first wrong one.

A line states facts, joined by words such as "and" and "so". It is right if each of them is known, that is told by the
puzzle or stated by a line before, or follows from those before it on the line. A line of one fact may also draw on all
that is known. The answer is right if it is the right one, whatever led to it. Any other line is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from erprm.demo.puzzles.relations import Fact
from erprm.demo.puzzles.templates import Puzzle

ANSWER = "####"
_JOINTS = re.compile(r"(?:\b(?:and|so|then|since|therefore|thus|hence)\b|[\s,.;])*", re.IGNORECASE)


class PuzzleChecker:
    """Checks solutions to one puzzle."""

    def __init__(self, puzzle: Puzzle) -> None:
        """Takes the puzzle, as an id tells it."""
        self._puzzle = puzzle
        self._relations = relations = puzzle.template.relations
        self._told = [*puzzle.links, *puzzle.sides]
        self._names = {name.lower(): name for first, _, second in self._told for name in (first, second)}
        self._kinds = {(relations.said(kind, n), n): kind for kind in relations.words for n in self._names.values()}
        name = rf"(?:the )?\b({'|'.join(self._names)})\b"
        phrase = "|".join({relations.phrase.format(word) for words in relations.words.values() for word in words})
        self._fact = re.compile(rf"{name} ({phrase}) {name}", re.IGNORECASE)

    def first_wrong(self, steps: Sequence[str]) -> int:
        """Place of the first wrong step, of one or more lines, counted from 0; -1 if all are right."""
        known = self._relations.both_ends(self._told)
        for place, step in enumerate(steps):
            lines = [line for line in step.splitlines() if line.strip()]
            if not lines or any(self.mistake(line, known) for line in lines):
                return place
        return -1

    def mistake(self, line: str, known: set[Fact]) -> str:
        """What is wrong with a line, or nothing; its facts are then added to what is known, each from both ends."""
        if line.lstrip().startswith(ANSWER):
            answer = line.replace(ANSWER, "", 1).strip(" .").lower()
            return "" if answer == self._puzzle.answer.lower() else "it is not the answer"
        found = list(self._fact.finditer(line))
        if not found or not all(_JOINTS.fullmatch(part) for part in self._fact.split(line)[:: self._fact.groups + 1]):
            return "it cannot be read"
        stated: list[Fact] = []
        for match in found:
            first, second = (self._names[match[group].lower()] for group in (1, 3))
            kind = self._kinds.get((match[2].lower(), first))
            if kind is None or first == second:
                return f"{match[0]!r} cannot be"
            fact = first, kind, second
            sources = known if len(found) == 1 else stated
            if fact not in known and fact not in self._relations.closure(sources):
                return f"{match[0]!r} does not follow"
            stated.append(fact)
        known |= self._relations.both_ends(stated)
        return ""
