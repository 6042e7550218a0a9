"""``erprm estimate fit | rollout``: what a run will need, before it is started."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_MODULES = {"fit": "erprm.cli.estimate_fit", "rollout": "erprm.cli.estimate_rollout"}


def main(arguments: Sequence[str]) -> int:
    """Hands over to the module for what is estimated: the second argument."""
    named = arguments[1] if len(arguments) > 1 else None
    if named not in _MODULES:
        found = "nothing" if named is None else repr(named)
        print(f"erprm estimate: expected {' or '.join(map(repr, _MODULES))} after it, found {found}", file=sys.stderr)
        return 2
    return int(importlib.import_module(_MODULES[named]).main(arguments))
