"""Reads the two texts that a program is graded by: the solution it is in, and its unit tests."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache

from erprm.errors import InputError
from erprm.grading.programs.run_tests import literal_text

_ACCEPTED = "expected lines assert CALL == LITERAL, such as assert double(2) == 4"
_BLOCK = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_PYTHON = {"", "py", "python", "python3"}


@dataclass(frozen=True)
class UnitTest:
    """A test of a function.

    Attributes:
        call: the expression that is evaluated after the program.
        expected: text of the value it must have, as `literal_text` writes it.
    """

    call: str
    expected: str


def program_in(solution: str) -> str:
    r"""The program of a solution: its last block of Python, closed or not; the whole text if it has no block.

    What stands before a `</think>` is no part of the solution.

    Example:
        >>> program_in("First try:\n```\nx = 1\n```\nBetter:\n```python\nx = 2\n```\nIt prints\n```text\n2\n```")
        'x = 2\n'
    """
    text = solution.rpartition("</think>")[2]
    blocks = [block[3] for block in _BLOCK.finditer(text) if block[2].lower() in _PYTHON]
    return textwrap.dedent(blocks[-1]) if blocks else text


@lru_cache(maxsize=4096)
def read_tests(gold: str) -> tuple[UnitTest, ...]:
    r"""Reads unit tests, one a statement: `assert CALL == LITERAL`, with or without a message.

    Raises:
        InputError: a statement is something else, or there is none; the message opens with its line.

    Example:
        >>> read_tests("assert double(2) == 4\nassert double('ab') == 'abab'")
        (UnitTest(call='double(2)', expected='0x4'), UnitTest(call="double('ab')", expected="'abab'"))
    """
    lines = gold.splitlines()
    try:
        statements = ast.parse(gold).body
    except SyntaxError as error:
        line = error.lineno or 1
        raise InputError(f"line {line}: {_shown(lines, line)} is not Python ({error.msg}); {_ACCEPTED}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"line 1: {_shown(lines, 1)} is not Python ({error}); {_ACCEPTED}") from error
    if not statements:
        raise InputError(f"line 1: no test; {_ACCEPTED}")
    return tuple(_read(statement, lines) for statement in statements)


def _read(statement: ast.stmt, lines: list[str]) -> UnitTest:
    test = statement.test if isinstance(statement, ast.Assert) else None
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        try:
            return UnitTest(ast.unparse(test.left), literal_text(ast.literal_eval(test.comparators[0])))
        except (ValueError, TypeError, RecursionError, MemoryError):
            pass
    shown = _shown(lines, statement.lineno)
    raise InputError(f"line {statement.lineno}: {shown} is not a test; {_ACCEPTED}")


def _shown(lines: list[str], number: int) -> str:
    line = lines[number - 1] if number <= len(lines) else ""
    return repr(line if len(line) <= 80 else f"{line[:80]}...")
