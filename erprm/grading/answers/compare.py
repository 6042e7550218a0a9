r"""Decides whether two answers are equal.

Structure (lists, tuples, intervals, matrices, relations) is settled here, its items in the module `expressions`. Only
two formulas that differ in form (`\sqrt{8}` and `2\sqrt{2}`) go to a `Symbolic` engine, which is the part that needs
sympy and a process that can be killed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from erprm.grading.answers.expressions import (
    NeedsSymbolicError,
    Symbolic,
    choice_letter,
    equal_expressions,
    is_bare_choice,
    without_choice,
)
from erprm.grading.answers.normalize import MAX_ANSWER_CHARS, normalize
from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.structure import THOUSANDS_ONLY, parse_answer, parse_items
from erprm.grading.answers.tree import Answer, Expression, Labelled, Matrix, Relation, Sequence, Union


def equal_answers(gold: str, prediction: str, symbolic: Symbolic) -> bool:
    """True if two extracted answers are equal as `docs/grading.md` defines it.

    Args:
        gold: the reference answer, not yet normalised.
        prediction: the answer to judge, not yet normalised.
        symbolic: asked about formulas that differ in form.
    """
    gold, prediction = normalize(gold), normalize(prediction)
    if not gold or not prediction:
        return False
    if gold == prediction:
        return True
    if len(gold) > MAX_ANSWER_CHARS or len(prediction) > MAX_ANSWER_CHARS:
        return False
    if is_bare_choice(gold) or is_bare_choice(prediction):  # C for "C. x = 42", which would parse as an equation
        letters = choice_letter(gold), choice_letter(prediction)
        if letters[0] and letters[1]:
            return letters[0] == letters[1]
    elif (choice_letter(gold) is None) != (choice_letter(prediction) is None):  # 12 for "(B) 12"
        gold, prediction = without_choice(gold), without_choice(prediction)
    gold, prediction = _with_decimal_points(gold, prediction)
    return _equal(parse_answer(gold), parse_answer(prediction), symbolic)


# 1,234 is left alone: thousands.
_DECIMAL_COMMA = re.compile(r"^([-+]?\s*(?:\\\$)?\s*\d+),(\d{1,2}|\d{4,})(?=[^\d.,]*$)")
# What a list of numbers rarely looks like: 0,5 and 12,75 and 1000,5.
_UNMISTAKABLE_DECIMAL_COMMA = re.compile(r"[-+]?(?:0,\d+|\d+,(?:\d{2}|\d{4,})|\d{4,},\d+)")


def _with_decimal_points(gold: str, prediction: str) -> tuple[str, str]:
    """Reads a decimal comma where the other side is one number, hence no list.

    Any comma of the prediction, since a list would be wrong anyway; of the gold only where it can hardly be a list.
    """
    if "," not in gold and ("." in gold or parse_number(gold) is not None):
        return gold, _DECIMAL_COMMA.sub(r"\1.\2", prediction)
    if "," not in prediction and "." in prediction and _UNMISTAKABLE_DECIMAL_COMMA.fullmatch(gold):
        return gold.replace(",", "."), prediction
    return gold, prediction


def _equal(gold: Answer, prediction: Answer, symbolic: Symbolic) -> bool:
    if isinstance(gold, Labelled) or isinstance(prediction, Labelled):
        return _equal_labelled(gold, prediction, symbolic)
    if isinstance(gold, Relation) or isinstance(prediction, Relation):
        return _equal_relations(gold, prediction, symbolic)
    gold, prediction = _as_union(gold, prediction), _as_union(prediction, gold)
    if isinstance(gold, Union) and isinstance(prediction, Union):
        return _same_set(gold.parts, prediction.parts, symbolic)
    if isinstance(gold, Sequence) and isinstance(prediction, Sequence):
        return _equal_sequences(gold, prediction, symbolic)
    if isinstance(gold, Matrix) or isinstance(prediction, Matrix):
        return _equal_matrices(gold, prediction, symbolic)
    if isinstance(gold, Expression) and isinstance(prediction, Expression):
        return equal_expressions(gold.text, prediction.text, symbolic)
    if isinstance(gold, Sequence) and isinstance(prediction, Expression):
        return _equal_sequence_to_expression(gold, prediction, symbolic)
    if isinstance(prediction, Sequence) and isinstance(gold, Expression):
        return _equal_sequence_to_expression(prediction, gold, symbolic)
    return False


def _as_union(answer: Answer, other: Answer) -> Answer:
    """A list of intervals (`x < 1 or x > 2`) is a union if it meets one."""
    if isinstance(other, Union) and isinstance(answer, Sequence) and answer.brackets == "":
        return Union(tuple(item.value if isinstance(item, Labelled) else item for item in answer.items))
    return answer


# Labels


def _canonical_label(label: str) -> str:
    label = re.sub(r"\\(?:text|mathrm)|[\s{}\\]", "", label)
    return re.sub(r"\([^()]*[a-z][^()]*\)", "", label)  # f(x) and f(n) name the same function


def _equal_labelled(gold: Answer, prediction: Answer, symbolic: Symbolic) -> bool:
    if isinstance(gold, Labelled) and isinstance(prediction, Labelled):
        if _canonical_label(gold.label) == _canonical_label(prediction.label):
            return _equal(gold.value, _with_argument_of(gold, prediction).value, symbolic)
        if _is_graph_of(gold, prediction) or _is_graph_of(prediction, gold):
            return _equal(gold.value, prediction.value, symbolic)
        return _both_values_are_names(gold, prediction) and symbolic.equal_relations(gold.text, prediction.text)
    if isinstance(gold, Labelled):
        if isinstance(prediction, Relation):
            return symbolic.equal_relations(_set_or_equation(gold), prediction.text)
        return _equal(gold.value, prediction, symbolic)
    assert isinstance(prediction, Labelled)
    if isinstance(gold, Relation):
        return symbolic.equal_relations(gold.text, _set_or_equation(prediction))
    return _equal(gold, prediction.value, symbolic)


_FUNCTION = re.compile(r"\s*([a-zA-Z])\s*\(\s*([a-zA-Z])\s*\)\s*")


def _with_argument_of(gold: Labelled, prediction: Labelled) -> Labelled:
    """`f(t) = t + 1` with the letter of `f(x) = x + 1`, unless that letter has a use of its own in it."""
    one, other = _FUNCTION.fullmatch(gold.label), _FUNCTION.fullmatch(prediction.label)
    if not one or not other or one[2] == other[2]:
        return prediction
    letter = r"(?<![\\a-zA-Z]){}(?![a-zA-Z])"
    if re.search(letter.format(one[2]), prediction.text):
        return prediction
    renamed = parse_answer(re.sub(letter.format(other[2]), one[2], prediction.text))
    return renamed if isinstance(renamed, Labelled) else prediction


def _is_graph_of(one: Labelled, other: Labelled) -> bool:
    """`y = 2x + 3` and `f(x) = 2x + 3`."""
    return one.label.strip() == "y" and (match := _FUNCTION.fullmatch(other.label)) is not None and match[2] != "y"


def _set_or_equation(answer: Labelled) -> str:
    r"""`x \in [0, 1]` as its set, `y = 2x` as it stands."""
    return _text_of(answer.value) if "\\in" in answer.text and "=" not in answer.text else answer.text


def _both_values_are_names(gold: Labelled, prediction: Labelled) -> bool:
    """`y = x` and `x = y`, `y = 2x` and `x = y/2`: equations that may be one another turned round."""
    return all(
        isinstance(side.value, Expression)
        and "=" in side.text
        and re.search(r"(?<![\\a-zA-Z])[a-zA-Z]", side.value.text)
        for side in (gold, prediction)
    )


# Relations


def _equal_relations(gold: Answer, prediction: Answer, symbolic: Symbolic) -> bool:
    if isinstance(gold, Relation) and isinstance(prediction, Relation):
        if gold.operators == prediction.operators and len(gold.sides) > 2:
            pairs = zip(gold.sides, prediction.sides, strict=True)
            return all(_equal(parse_answer(one), parse_answer(other), symbolic) for one, other in pairs)
        if _flipped(gold) == (prediction.sides, prediction.operators):
            return True
        return symbolic.equal_relations(gold.text, prediction.text)
    relation, other = (gold, prediction) if isinstance(gold, Relation) else (prediction, gold)
    assert isinstance(relation, Relation)
    if set(relation.operators) == {"="} and isinstance(other, Expression):
        # 3 + 4 = 7 against 7: a computation that was not cut off; an equation with letters is no value.
        if relation is prediction and _is_computation(relation):
            return _equal(other, parse_answer(relation.sides[-1]), symbolic)
        return False
    if isinstance(other, (Union, Sequence)):
        return symbolic.equal_relations(_text_of(gold), _text_of(prediction))
    return False


def _is_computation(relation: Relation) -> bool:
    return re.search(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", relation.sides[0]) is None or len(relation.sides) > 2


def _flipped(relation: Relation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    turned = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
    return relation.sides[::-1], tuple(turned.get(operator, operator) for operator in reversed(relation.operators))


def _text_of(answer: Answer) -> str:
    if isinstance(answer, (Relation, Expression)):
        return answer.text
    if isinstance(answer, Union):
        return " \\cup ".join(_text_of(part) for part in answer.parts)
    if isinstance(answer, Sequence):
        opener, closer = (answer.brackets[0], answer.brackets[1]) if answer.brackets else ("", "")
        braces = {"{": "\\{", "}": "\\}"}
        return f"{braces.get(opener, opener)}{answer.inner}{braces.get(closer, closer)}"
    return ""


# Sequences


def _equal_sequences(gold: Sequence, prediction: Sequence, symbolic: Symbolic) -> bool:
    if gold.brackets == prediction.brackets:
        if gold.brackets in ("", "{}"):
            return _same_set(gold.items, prediction.items, symbolic)
        return _same_order(gold.items, prediction.items, symbolic)
    kinds = {_family(gold), _family(prediction)}
    if kinds == {"list", "set"}:
        return _same_set(gold.items, prediction.items, symbolic)
    if kinds == {"list", "tuple"}:  # "1, 3" for (1, 3): the order counts; for [1, 3] as well, where it is no interval
        return _same_order(gold.items, prediction.items, symbolic)
    if kinds == {"tuple"}:  # (1, 2) and \langle 1, 2 \rangle; an interval has only round and square brackets
        return "<>" in (gold.brackets, prediction.brackets) and _same_order(gold.items, prediction.items, symbolic)
    return False


def _family(sequence: Sequence) -> str:
    return {"": "list", "{}": "set"}.get(sequence.brackets, "tuple")


def _same_order(gold: tuple[Answer, ...], prediction: tuple[Answer, ...], symbolic: Symbolic) -> bool:
    if len(gold) != len(prediction):
        return False
    return _all(zip(gold, prediction, strict=True), symbolic)


def _all(pairs: Iterable[tuple[Answer, Answer]], symbolic: Symbolic) -> bool:
    """All pairs equal. A plain difference settles the matter before any algebra is asked for."""
    undecided = False
    for one, other in pairs:
        try:
            if not _equal(one, other, symbolic):
                return False
        except NeedsSymbolicError:
            undecided = True
    if undecided:
        raise NeedsSymbolicError
    return True


def _same_set(gold: tuple[Answer, ...], prediction: tuple[Answer, ...], symbolic: Symbolic) -> bool:
    """Every item of each has an equal one in the other; repeated items count once."""
    if _labels_matter(gold, prediction):
        return _same_order(gold, prediction, symbolic)
    if set(gold) == set(prediction):
        return True
    return _covers(gold, prediction, symbolic) and _covers(prediction, gold, symbolic, swapped=True)


def _labels_matter(gold: tuple[Answer, ...], prediction: tuple[Answer, ...]) -> bool:
    """`AB = 4, CD = 5` against `4, 5`: different names on one side only, so the order carries the meaning."""
    named = [items for items in (gold, prediction) if any(isinstance(item, Labelled) for item in items)]
    if len(named) != 1:
        return False
    letters = {re.sub(r"[_{}\d\s]", "", item.label) for item in named[0] if isinstance(item, Labelled)}
    return len(letters) > 1


def _covers(items: tuple[Answer, ...], others: tuple[Answer, ...], symbolic: Symbolic, swapped: bool = False) -> bool:
    undecided = False
    for item in items:
        if item in others:
            continue
        found = unsure = False
        for other in others:
            try:
                found = _equal(other, item, symbolic) if swapped else _equal(item, other, symbolic)
            except NeedsSymbolicError:
                unsure = True
            if found:
                break
        if not found and not unsure:
            return False
        undecided |= not found
    if undecided:
        raise NeedsSymbolicError
    return True


def _equal_sequence_to_expression(sequence: Sequence, expression: Expression, symbolic: Symbolic) -> bool:
    """`(1,000)` against 1000; `100, 200` against `100,200`; a set of one against its item; one value in two forms."""
    if len(sequence.items) == 1:
        return sequence.brackets in ("{}", "[]") and _equal(sequence.items[0], expression, symbolic)
    inner = re.sub(r"\s", "", sequence.inner)
    if THOUSANDS_ONLY.fullmatch(sequence.inner) and sequence.brackets == "()":
        number, other = parse_number(inner), parse_number(expression.text)
        if number is not None and other is not None:
            return number.value == other.value
    if sequence.brackets == "" and THOUSANDS_ONLY.fullmatch(expression.text):
        return _same_set(sequence.items, parse_items(expression.text), symbolic)
    if sequence.brackets in ("{}", "") and expression.text == "\\emptyset":
        return not sequence.items
    # "1/2 or 0.5": one value in two forms
    return sequence.brackets == "" and _all(((expression, item) for item in sequence.items), symbolic)


def _equal_matrices(gold: Answer, prediction: Answer, symbolic: Symbolic) -> bool:
    if isinstance(gold, Matrix) and isinstance(prediction, Matrix):
        if len(gold.rows) != len(prediction.rows) or len(gold.rows[0]) != len(prediction.rows[0]):
            return False
        pairs = (
            (a, b)
            for row, other in zip(gold.rows, prediction.rows, strict=True)
            for a, b in zip(row, other, strict=True)
        )
        return _all(pairs, symbolic)
    matrix, other = (gold, prediction) if isinstance(gold, Matrix) else (prediction, gold)
    assert isinstance(matrix, Matrix)
    if isinstance(other, Sequence) and (rows := _as_rows(other)):
        return _equal_matrices(*((matrix, rows) if matrix is gold else (rows, matrix)), symbolic)
    if isinstance(other, Sequence) and other.brackets in ("()", "[]", "<>", ""):  # a vector written as a tuple
        vector = [cell for row in matrix.rows for cell in row]
        if min(len(matrix.rows), len(matrix.rows[0])) != 1:
            return False
        items = (tuple(vector), other.items)
        return _same_order(*(items if matrix is gold else items[::-1]), symbolic)
    if isinstance(other, Expression) and "matrix" in other.text:  # a sum or multiple of matrices
        return symbolic.equal_relations(_latex_of(gold), _latex_of(prediction))
    return False


def _as_rows(answer: Sequence) -> Matrix | None:
    """`[[1, 2], [3, 4]]` as a matrix."""
    rows = [item.items for item in answer.items if isinstance(item, Sequence) and item.brackets == answer.brackets]
    if answer.brackets not in ("[]", "()") or len(rows) < len(answer.items) or len({len(row) for row in rows}) != 1:
        return None
    return Matrix(tuple(rows))


def _latex_of(answer: Answer) -> str:
    if isinstance(answer, Matrix):
        rows = " \\\\ ".join(" & ".join(_text_of(cell) for cell in row) for row in answer.rows)
        return f"\\begin{{pmatrix}} {rows} \\end{{pmatrix}}"
    return _text_of(answer)
