"""Runs a program and its calls, and says in text what each call returned; standard library only.

`erprm.grading.programs.enter_sandbox` executes this file inside the sandbox. The expected values stay outside of it,
so whatever the program does to this code, it cannot know which answers are right. Values are compared by their texts
(`literal_text`): nothing that the program sends is ever parsed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(program: str, calls: list[str], longest: int, reply: int) -> None:
    """Executes a program, then evaluates calls in its names, and writes one line a call to the descriptor `reply`.

    Args:
        program: source of a module.
        calls: expressions.
        longest: length of the longest text that can be right; instead of a longer one the line is empty. It is empty,
            too, if the call raises or returns what is no literal.
        reply: where lines go.
    """
    module = type(sys)("solution")  # dataclasses, for one, look their module up by its name
    sys.modules["solution"] = module
    exec(compile(program, "solution.py", "exec"), module.__dict__)  # noqa: S102 - this is the sandbox
    for call in calls:
        try:
            answer = literal_text(eval(call, module.__dict__))  # noqa: S307 - this is the sandbox
        except BaseException:  # noqa: BLE001 - sys.exit is a wrong answer, too
            answer = ""
        os.write(reply, (answer if len(answer) <= longest else "").encode() + b"\n")


def literal_text(value: Any) -> str:
    """The text of a literal, one line of ASCII; two values have the same text if and only if they are equal.

    Raises:
        TypeError: the value is none of None, a number, text, bytes, list, tuple, set and dictionary, or holds another.
        RecursionError: it is nested too deep, or holds itself.
    """
    if value is None or value is ...:
        return str(value)
    if isinstance(value, int):  # True is 1
        return hex(value)
    if isinstance(value, float):
        return hex(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, complex):
        return f"complex({value.real!r},{value.imag!r})" if value.imag else literal_text(value.real)
    if isinstance(value, str):
        return ascii(str(value))
    if isinstance(value, (bytes, bytearray)):
        return ascii(bytes(value))
    if isinstance(value, (list, tuple)):
        return ("list(" if isinstance(value, list) else "tuple(") + ",".join(map(literal_text, value)) + ")"
    if isinstance(value, (set, frozenset)):
        return "set(" + ",".join(sorted(map(literal_text, value))) + ")"
    if isinstance(value, dict):
        return "dict(" + ",".join(sorted(f"{literal_text(k)}:{literal_text(v)}" for k, v in value.items())) + ")"
    raise TypeError(f"{type(value).__name__} is no literal")
