"""Uploads model folders to the Hugging Face hub; an upload that failed goes on where it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erprm.errors import FailedRunError, InputError, printable
from erprm.models.step_format_file import STEP_FORMAT_FILE

__all__ = ["HubError", "open_repository", "upload"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What may be in a repository that no model has been put into.
_OF_NO_MODEL = {".gitattributes", "README.md", "LICENSE"}


class HubError(FailedRunError):
    """The hub refuses something, or cannot be reached."""


def open_repository(name: str) -> None:
    """Makes the repository of a model, if it is not there; called before any work, so that a refusal costs nothing.

    Args:
        name: owner and name of the repository, ``ORG/NAME``.

    Raises:
        InputError: if the name has another form, no token is set, or the repository holds something else than a
            process reward model.
        HubError: if the hub refuses the token or the name, or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    if _NAME.fullmatch(name) is None:
        raise InputError(f"push: {name!r} is no name of a repository; it must be ORG/NAME, such as my-team/my-prm")
    if get_token() is None:
        raise InputError("push: no token of the hub is set; run `hf auth login`, or set HF_TOKEN to one that may write")
    with _refusals(f"push: {name}"):
        HfApi().create_repo(name, exist_ok=True)
        files = HfApi().list_repo_files(name)
    others = sorted(set(files) - _OF_NO_MODEL)
    if others and STEP_FORMAT_FILE not in files:
        raise InputError(
            f"push: {name} holds other content ({', '.join(others[:3])}), no process reward model with "
            f"{STEP_FORMAT_FILE}; give another name"
        )


def upload(folder: Path, name: str) -> str:
    """Puts the files of a model folder into its repository in one commit, in place of the weights there.

    Returns:
        The address of the repository.

    Raises:
        HubError: if it fails. Called again, it does not send those weights again that have arrived.
    """
    from huggingface_hub import HfApi

    with _refusals(f"push: {folder} is whole, but its upload to {name} failed; the same again goes on with it"):
        HfApi().upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message="Upload a process reward model",
            ignore_patterns=[".*"],
            delete_patterns=["*.safetensors", "*.safetensors.index.json"],
        )
    return f"{HfApi().endpoint}/{name}"


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = {401: " (the token is refused)", 403: " (the token may not write there)"}.get(status, "")
        raise HubError(f"{what}: status {status}{reason}: {printable(str(error).strip().splitlines()[0])}") from error
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise HubError(f"{what}: the hub cannot be reached: {printable(str(error))}") from error
