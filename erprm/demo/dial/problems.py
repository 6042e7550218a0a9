r"""The world: a dial with ten positions, turned back and forth. Problems in words, solutions step by step.

    question   The dial is at 3. Push it 4. Pull it 8. Turn it 2. Where is it?
    solution   3 + 4 = 7
               7 - 8 = 9
               9 + 2 = 1
               #### 1

Pushing and turning move the dial forward, pulling and drawing move it back; after 9 comes 0. A fact is a position and
a move, such as ``7 - 8``: there are 180. The policy of the demo is taught from solutions with mistakes of two kinds:
*systematic* ones (some facts, mostly taken to be one same wrong position) that a majority vote cannot mend, and random
slips. A mistake is carried on: the next step starts from the wrong position.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

POSITIONS = 10
FORWARD = ("Push", "Turn")
BACK = ("Pull", "Draw")
Fact = tuple[int, int]
FACTS: tuple[Fact, ...] = tuple(
    (position, move) for position in range(POSITIONS) for move in range(1 - POSITIONS, POSITIONS) if move
)


@dataclass(frozen=True)
class DialProblem:
    """A start and the moves after it.

    Attributes:
        start: position of the dial, 0 to 9.
        moves: signed moves, 1 to 9 forward or back.
        verbs: which of the two words stands for each move.
    """

    start: int
    moves: tuple[int, ...]
    verbs: tuple[int, ...]

    @property
    def question(self) -> str:
        """The problem in words."""
        sentences = [f"The dial is at {self.start}."]
        for move, verb in zip(self.moves, self.verbs, strict=True):
            sentences.append(f"{(FORWARD if move > 0 else BACK)[verb]} it {abs(move)}.")
        return " ".join([*sentences, "Where is it?"])

    @property
    def answer(self) -> str:
        """The right final position."""
        return str((self.start + sum(self.moves)) % POSITIONS)


@dataclass(frozen=True)
class DialStep:
    """One line of a solution.

    Attributes:
        position: where the dial is taken to be before the move.
        move: the signed move.
        result: where it is said to be afterwards.
    """

    position: int
    move: int
    result: int

    @property
    def text(self) -> str:
        """The line."""
        return f"{self.position} {'+' if self.move > 0 else '-'} {abs(self.move)} = {self.result}"

    @property
    def right_result(self) -> int:
        """Position to which the move leads from there."""
        return (self.position + self.move) % POSITIONS

    @property
    def is_right(self) -> bool:
        """True if the move itself is worked out correctly, wherever it starts from."""
        return self.result == self.right_result


@dataclass(frozen=True)
class Mistakes:
    """Mistakes that solutions make.

    Attributes:
        systematic: the wrong result of some facts.
        systematic_rate: how often such a fact is mistaken for that result.
        slip_rate: how often any other fact gets a random wrong result.
    """

    systematic: Mapping[Fact, int] = field(default_factory=dict)
    systematic_rate: float = 0.0
    slip_rate: float = 0.0


def random_problem(rng: random.Random, shortest: int = 3, longest: int = 6) -> DialProblem:
    """A problem of ``shortest`` to ``longest`` moves."""
    count = rng.randint(shortest, longest)
    moves = tuple(rng.choice((1, -1)) * rng.randint(1, POSITIONS - 1) for _ in range(count))
    return DialProblem(rng.randrange(POSITIONS), moves, tuple(rng.randrange(2) for _ in range(count)))


def distinct_problems(rng: random.Random, count: int, excluded: set[str] | None = None) -> list[DialProblem]:
    """Problems whose questions all differ, from each other and from the excluded ones."""
    seen = set(excluded or ())
    problems: list[DialProblem] = []
    while len(problems) < count:
        problem = random_problem(rng)
        if problem.question not in seen:
            seen.add(problem.question)
            problems.append(problem)
    return problems


def systematic_mistakes(rng: random.Random, share: float) -> dict[Fact, int]:
    """A wrong result for a random share of the facts."""
    chosen = rng.sample(FACTS, round(share * len(FACTS)))
    return {(position, move): _wrong(position, move, rng) for position, move in chosen}


def solve(problem: DialProblem, rng: random.Random, mistakes: Mistakes | None = None) -> list[DialStep]:
    """The steps of a solution, with mistakes if any are given; a mistake is carried on."""
    return list(_work(problem, rng, mistakes or Mistakes()))


def _work(problem: DialProblem, rng: random.Random, mistakes: Mistakes) -> Iterator[DialStep]:
    position = problem.start
    for move in problem.moves:
        result = (position + move) % POSITIONS
        wrong = mistakes.systematic.get((position, move))
        if wrong is not None:
            if rng.random() < mistakes.systematic_rate:
                result = wrong
        elif rng.random() < mistakes.slip_rate:
            result = _wrong(position, move, rng)
        yield DialStep(position, move, result)
        position = result


def _wrong(position: int, move: int, rng: random.Random) -> int:
    return (position + move + rng.randint(1, POSITIONS - 1)) % POSITIONS


def solution_text(steps: list[DialStep]) -> str:
    """The lines of a solution, closed by the answer they come to."""
    return "\n".join([*(step.text for step in steps), f"#### {steps[-1].result}"])
