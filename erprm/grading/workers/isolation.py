"""Python child processes that import nothing from the working folder or the folder of the running script."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import erprm

# Isolated mode keeps out the working folder, PYTHONPATH and what else the environment may add; the path of this
# process follows as the first argument. (`python -m` would put the working folder first, and `-P` is new in 3.11.)
_RUN = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import {function}; {function}()"


def safe_path() -> list[str]:
    """The module path of this process without the working folder and the script's, but with this package's root."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    unsafe = {_real(Path.cwd()), _real(Path(script).parent) if script else ""}
    root = _real(Path(erprm.__file__).parent.parent)
    kept = [entry for entry in sys.path if entry and _real(entry) not in unsafe]
    return kept if any(_real(entry) == root for entry in kept) else [*kept, root]


def _real(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(path)


def isolated_python(module: str, function: str, *arguments: str) -> list[str]:
    """The command that calls a function without arguments in a child; it finds `arguments` in `sys.argv[1:]`."""
    code = _RUN.format(module=module, function=function)
    return [sys.executable, "-I", "-X", "utf8", "-c", code, json.dumps(safe_path()), *arguments]
