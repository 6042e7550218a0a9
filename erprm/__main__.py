"""Run the command line as ``python -m erprm``."""

import os
import sys

# Python puts the working folder first, where a file that is called as a library is would stand in for it. Nothing is
# imported up to here but what Python itself has loaded.
if sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    sys.path.append(sys.path.pop(0))

from erprm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
