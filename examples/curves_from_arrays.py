"""Accuracy of best-of-n, votes and pass@n against n, with intervals, from numpy arrays of scores and outcomes alone.

    python examples/curves_from_arrays.py            # made-up arrays
    python examples/curves_from_arrays.py mine.npz   # your own

The arrays are named ``scores``, ``correct`` and ``answers``, each of shape [problems, candidates]. ``scores`` come
from whatever reward model you have, ``correct`` is true where a candidate is right, and ``answers`` numbers the final
answers within a problem (-1 where there is none).
"""

import sys

import numpy as np
import numpy.typing as npt
from torch import Tensor

from erprm.metrics import (
    best_of_n_curves,
    bootstrap_interval,
    entropic_vote_curves,
    majority_vote_curves,
    pass_at_n_curves,
)

Array = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.bool_]


def curves(scores: Array, correct: Array, answers: Array, vote_eta: float = 10.0) -> dict[str, Tensor]:
    """The value of every problem at every n from 1 on, by each way of choosing; shape [problems, candidates]."""
    return {
        "best-of-n": best_of_n_curves(scores, correct),
        f"vote, eta {vote_eta:g}": entropic_vote_curves(scores, answers, correct, vote_eta),
        "majority": majority_vote_curves(answers, correct),
        "pass@n": pass_at_n_curves(correct),
    }


def made_up(problems: int = 200, candidates: int = 16) -> tuple[Array, Array, Array]:
    """Scores that are higher for right candidates (answer 0) than for wrong ones (answers 1 to 3), on average."""
    draw = np.random.default_rng(0)
    correct = draw.random((problems, candidates)) < draw.random((problems, 1))
    answers = np.where(correct, 0, draw.integers(1, 4, correct.shape))
    return draw.normal(correct * 1.0), correct, answers


def main(arguments: list[str]) -> None:
    """Prints a line for each way of choosing."""
    if arguments:
        with np.load(arguments[0]) as arrays:
            scores, correct, answers = (arrays[name] for name in ("scores", "correct", "answers"))
    else:
        scores, correct, answers = made_up()
    shown = [2**k for k in range(scores.shape[1].bit_length())]
    for name, values in curves(scores, correct, answers).items():
        low, high = bootstrap_interval(values)
        cells = [f"{n}: {values[:, n - 1].mean():.3f} [{low[n - 1]:.3f}, {high[n - 1]:.3f}]" for n in shown]
        print(f"{name:12}", *cells, sep="  ")


if __name__ == "__main__":
    main(sys.argv[1:])
