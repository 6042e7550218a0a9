"""Programs graded by unit tests in a sandbox; `docs/grading.md` says what the sandbox holds and what it does not."""

from __future__ import annotations

from erprm.grading.programs.grader import ProgramGrader
from erprm.grading.programs.sandbox import SandboxError

__all__ = ["ProgramGrader", "SandboxError"]
