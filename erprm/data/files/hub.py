"""Loads data sets of the Hugging Face hub, and distinguishes them from local paths."""

from __future__ import annotations

import re
import ssl
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from erprm.data.files.compressed import COMPRESSED_SUFFIXES
from erprm.errors import printable

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SECONDS_FOR_ANSWER = 5
_FILE_SUFFIXES = {".parquet", ".json", ".jsonl", *COMPRESSED_SUFFIXES}


def is_hub_id(text: str) -> bool:
    """True if a text has the form ``owner/name`` and no such path exists on this machine."""
    path = Path(text)
    return _HUB_ID.fullmatch(text) is not None and path.suffix not in _FILE_SUFFIXES and not path.exists()


def load_hub_dataset(hub_id: str, what: str, config: str | None = None, split: str = "train") -> Any:
    """One split of a hub data set, as a ``datasets.Dataset``.

    Raises:
        FileNotFoundError: if it is neither on this machine nor on the hub, or the hub cannot be reached.
        ValueError: naming the splits there are, if it has no such split; or what is wrong with an answer of the hub.
    """
    import datasets

    endpoint, cached = datasets.config.HF_ENDPOINT, Path(datasets.config.HF_DATASETS_CACHE, hub_id.replace("/", "___"))
    # What is cached is loaded without the hub, and where that is switched off, `datasets` says so at once.
    is_needed = not cached.exists() and not datasets.config.HF_HUB_OFFLINE
    try:
        if is_needed and (reason := why_hub_is_away(endpoint)) is not None:
            # huggingface_hub 2.4 would try for 24 seconds first, which no setting of its shortens.
            raise ConnectionError(f"cannot reach {endpoint}: {reason}")
        return datasets.load_dataset(hub_id, config, split=split)
    except ValueError as error:  # of `datasets`, or of what the hub says a file to be
        raise ValueError(f"{what}: hub data set {hub_id!r}: {printable(str(error))}") from error
    except Exception as error:  # whatever a client makes of what a server answers
        raise FileNotFoundError(
            f"{what}: {hub_id!r} is not a local path, and loading it as a hub data set failed: {printable(str(error))}"
        ) from error


def why_hub_is_away(endpoint: str) -> str | None:
    """Reason why the hub cannot be reached, or None; tries the connection once, for seconds."""
    found: Queue[str | None] = Queue()
    # A socket's time limit holds for each byte. An answer that arrives drop by drop is left to itself.
    Thread(target=lambda: found.put(_why_away(endpoint)), daemon=True).start()
    try:
        return found.get(timeout=2 * _SECONDS_FOR_ANSWER)
    except Empty:
        return f"no whole answer within {2 * _SECONDS_FOR_ANSWER} s"


def _why_away(endpoint: str) -> str | None:
    try:
        with urlopen(Request(endpoint, method="HEAD"), timeout=_SECONDS_FOR_ANSWER):
            return None
    except HTTPError:
        return None  # an answer
    except URLError as error:
        is_network = isinstance(error.reason, OSError) and not isinstance(error.reason, ssl.SSLError)
        return str(error.reason) if is_network else None
    except OSError as error:
        return str(error)
    except HTTPException as error:
        return f"what answers does not speak HTTP: {error!r:.200}"
