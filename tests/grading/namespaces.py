"""The mark of tests that need isolated programs: where there is no isolation, they are skipped with the reason."""

from __future__ import annotations

import sys

import pytest

from erprm.grading.programs import ProgramGrader, SandboxError


def why_not_isolated() -> str:
    if sys.platform != "linux":
        return "programs are graded on Linux only"
    try:
        ProgramGrader()
    except SandboxError as error:
        return str(error)
    return ""


WHY_NOT = why_not_isolated()
needs_namespaces = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
