"""Step styles and step formats of the user's own, named by their import path."""

from __future__ import annotations

import pkgutil


def is_import_path(name: str) -> bool:
    """True if a name can be an import path, such as ``my_steps.by_claim`` or ``my_steps:by_claim``."""
    return all(part.isidentifier() for part in name.replace(":", ".").split(".")) and name != name.partition(".")[0]


def import_named(path: str, setting: str, accepted: str) -> object:
    """Imports the object at an import path.

    Args:
        path: names of packages, a module and an object in it.
        setting: name of the setting, for the message.
        accepted: what the setting may be, for the message.

    Raises:
        ValueError: naming the setting, if nothing can be imported from there.
    """
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        hint = " (commands look in the working folder, too)" if isinstance(error, ImportError) else ""
        raise ValueError(f"{setting} is {path!r}, which cannot be imported: {error}{hint}; {accepted}") from error
