"""SIGKILL, in turn at a random moment of a run and as a random file is about to be made durable or to get its name.

It comes up to three times in a row, then the command runs to its end. Held: the folder is that of a run without kills,
file by file.
"""

from __future__ import annotations

import os
import random
import signal
import time

from benchmarks.robustness.comparison import difference
from benchmarks.robustness.workplace import COMMANDS, Row, Workplace, last_line


def kills(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Kills a command so many times."""
    whole, ended = place.whole(name)
    row = Row("kills", name, seconds=ended.seconds)
    seconds = ended.seconds
    while row.tried < count:
        place.clean()
        where: list[str] = []
        for _ in range(min(rng.choice((1, 1, 2, 3)), count - row.tried)):
            # One in each part of the run, so that early and late ones are among them.
            share = (row.tried + len(where) + rng.random()) / count
            at_write = None if (row.tried + len(where)) % 2 else 1 + int(share * ended.writes)
            child = place.start(COMMANDS[name], at_write=at_write)
            if at_write is None:
                time.sleep(share * seconds)
                os.kill(child, signal.SIGKILL)
            if place.end(child).status != -signal.SIGKILL:
                if not where:  # The whole run was slower, as the machine had more to do.
                    seconds *= 0.8
                break  # It had ended by then: what was left of a resumed run is short.
            where.append(f"after {share * seconds:.2f} s" if at_write is None else f"at write {at_write}")
        finished = place.run(COMMANDS[name])
        fault = last_line(finished) if finished.status else difference(whole, place.work)
        for each in where:
            row.add(fault and f"killed {each} (of {', '.join(where)}): {fault}")
    return row
