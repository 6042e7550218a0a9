r"""A stricter grader for problems that ask for a form: "factor", "expand", "simplify", "as a common fraction".

`Grader` ignores the form: `x^2 - 1` is right where `(x - 1)(x + 1)` was asked for. Here both must hold: the answers are
equal, and written alike but for the order of terms and factors and the spelling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erprm.grading.answers.formula import MINUS_ONE, ONE, Formula, negative, read_formula
from erprm.grading.answers.normalize import normalize
from erprm.grading.answers.structure import parse_answer
from erprm.grading.answers.tree import Answer, Expression, Labelled
from erprm.grading.answers.tree import Sequence as Items
from erprm.grading.extract import extract_answer
from erprm.grading.grader import Grader


class FormGrader:
    r"""An outcome grader that also compares the form of MATH answers.

    In a configuration: `grading: {class_path: erprm.grading.FormGrader}`.

    Args:
        **grader_arguments: those of `Grader`.

    Example:
        >>> with_form = FormGrader()
        >>> with_form.grade_batch([("(1+x)(x-1)", "(x-1)(x+1)"), ("x^2-1", "(x-1)(x+1)")])
        [1.0, 0.0]
        >>> with_form.close()
    """

    def __init__(self, **grader_arguments: Any) -> None:
        self._grader = Grader(**grader_arguments)

    def grade_batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """1.0 for each (prediction, gold) pair that is equal and has the same form, else 0.0."""
        verdicts = self._grader.grade_batch(pairs, "math")
        return [float(equal and _same_form(*pair)) for equal, pair in zip(verdicts, pairs, strict=True)]

    def __call__(self, prediction: str, gold: str) -> float:
        """The reward of one prediction."""
        return self.grade_batch([(prediction, gold)])[0]

    def close(self) -> None:
        """Ends the worker processes."""
        self._grader.close()


def _same_form(prediction: str, gold: str) -> bool:
    answers = [extract_answer(text, "math") for text in (prediction, gold)]
    forms = [_form(parse_answer(normalize(answer))) for answer in answers if answer is not None]
    return len(forms) == 2 and forms[0] == forms[1]


def _form(answer: Answer) -> Any:
    """Features that two answers of one form have in common."""
    if isinstance(answer, Labelled):
        return _form(answer.value)
    if isinstance(answer, Items):
        forms = [_form(item) for item in answer.items]
        return answer.brackets, *(sorted(forms, key=repr) if answer.brackets in ("", "{}") else forms)
    if not isinstance(answer, Expression):
        return answer
    try:
        return _ordered(read_formula(answer.text))
    except ValueError:
        return "".join(answer.text.split())


def _ordered(formula: Formula) -> Formula:
    """Terms and factors in one order; signs and factors of one are drawn together, nothing else is computed."""
    parts = [_ordered(part) for part in formula.parts]
    if formula.head not in ("sum", "product"):
        return Formula(formula.head, tuple(parts), formula.value, formula.name)
    flat = [inner for part in parts for inner in (part.parts if part.head == formula.head else (part,))]
    if formula.head == "product":
        minus = flat.count(MINUS_ONE) % 2 == 1
        flat = [part for part in flat if part not in (ONE, MINUS_ONE)] or [ONE]
        flat.sort(key=repr)
        if minus:
            place = next((at for at, part in enumerate(flat) if part.head == "number"), None)
            if place is None:
                flat.insert(0, MINUS_ONE)
            else:
                flat[place] = negative(flat[place])
    flat.sort(key=repr)
    return flat[0] if len(flat) == 1 else Formula(formula.head, tuple(flat))
