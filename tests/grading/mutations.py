"""Small changes to an answer that make it wrong: a digit, a sign, a bracket, a base, the power of a unit."""

from __future__ import annotations

import re
from collections.abc import Iterator


def mutate(answer: str) -> Iterator[tuple[str, str]]:
    """Yields (kind of change, changed answer) for every place where one of the five changes applies."""
    for match in re.finditer(r"\d", answer):
        other = str((int(match[0]) + 1) % 10)
        yield "digit", answer[: match.start()] + other + answer[match.end() :]
    yield from _signs(answer)
    if re.match(r"(?:x \\in )?(?:\\left\s*)?[(\[]", answer):
        yield from _brackets(answer)
    base = re.fullmatch(r"(\d+)_\{?(\d+)\}?", answer)
    if base:
        yield "base", f"{base[1]}_{int(base[2]) + 1}"
    power = re.search(r"(mbox|text)\{[^}]*\}\^(\d)$", answer)
    if power:
        yield "unit power", answer[:-1] + str(int(power[2]) + 1)


def _signs(answer: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?<=[\w)}\s])[+-](?=\s*[\w\\(])", answer):
        yield "sign", answer[: match.start()] + ("-" if match[0] == "+" else "+") + answer[match.end() :]
    if re.fullmatch(r"[\d.]*[1-9][\d.]*|\\d?frac\s*\{?[^,]*", answer):
        yield "sign", "-" + answer


def _brackets(answer: str) -> Iterator[tuple[str, str]]:
    swap = {"(": "[", "[": "(", ")": "]", "]": ")"}
    for match in re.finditer(r"[(\[\])]", answer):
        yield "bracket", answer[: match.start()] + swap[match[0]] + answer[match.end() :]
