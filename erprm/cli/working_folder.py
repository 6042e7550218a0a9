"""Imports of the user's own classes from files in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path


def find_modules_in_working_folder() -> None:
    """Lets ``class_path: my_module.MyClass`` name a file of the working folder.

    What is installed goes first: a file of the folder stands in for no library.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
