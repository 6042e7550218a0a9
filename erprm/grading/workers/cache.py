"""A persistent cache of verdicts that needed algebra: one SQLite file, safe to share between processes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from importlib import metadata
from pathlib import Path

# Raise when a change of the rules can change a verdict; old entries are then ignored.
RULES_VERSION = 8


class VerdictCache:
    """Verdicts keyed by the two answers, the version of the rules and the versions of math-verify and sympy.

    Args:
        path: file to create or open; its folder must exist.

    Raises:
        ValueError: `path` is no SQLite file that can be opened and written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        versions = [
            str(RULES_VERSION),
            *(metadata.version(name) for name in ("math-verify", "latex2sympy2_extended", "sympy")),
        ]
        self._salt = "|".join(versions)
        self._local = threading.local()
        try:
            with self._connection() as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, equal INTEGER NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.Error as error:
            raise ValueError(
                f"cache_path: {self.path} cannot be used as a verdict cache ({error}); give a new or an SQLite file"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """One connection a thread and process: SQLite's may be shared by neither."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = sqlite3.connect(self.path, timeout=60)
            self._local.pid = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _key(self, gold: str, prediction: str) -> bytes:
        return hashlib.sha256(json.dumps([self._salt, gold, prediction]).encode("ascii")).digest()

    def get(self, gold: str, prediction: str) -> bool | None:
        """The stored verdict, or None."""
        row = (
            self._connection()
            .execute("SELECT equal FROM verdicts WHERE key = ?", (self._key(gold, prediction),))
            .fetchone()
        )
        return None if row is None else bool(row[0])

    def put(self, verdicts: dict[tuple[str, str], bool]) -> None:
        """Stores verdicts of (gold, prediction) in one transaction; a stored verdict is kept as it is."""
        rows = [(self._key(gold, prediction), int(equal)) for (gold, prediction), equal in verdicts.items()]
        with self._connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", rows)
