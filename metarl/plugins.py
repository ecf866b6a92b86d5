"""Code from elsewhere: modules that a name points to, and plugins that packages declare."""

import importlib
import importlib.metadata
import sys
import warnings
from pathlib import Path
from typing import Any

from metarl.errors import UserError, nearest


def import_named(module: str) -> None:
    """Import a module, which may lie in the current folder; UserError, in one line, if it fails."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever the user's code raises
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        advice = "run where it lies, or install it" if missing else "mend it"
        raise UserError(f"the module {module!r} cannot be imported: {error!r}; {advice}") from error


def object_named(name: str, key: str) -> Any:
    """What `module:name` names; UserError that begins with the key of the setting it is from."""
    module, _, name_there = name.rpartition(":")
    import_named(module)
    try:
        return getattr(sys.modules[module], name_there)
    except AttributeError:
        known = [each for each in vars(sys.modules[module]) if not each.startswith("_")]
        hint = nearest(name_there, known)
        raise UserError(f"{key}: the module {module!r} has no {name_there!r}; {hint}") from None


def load_plugins(group: str, what: str, stacklevel: int) -> None:
    """Import what installed packages name in an entry-point group; their code registers itself.

    Our own comes first: no plugin can take the name of something built in. One that cannot be
    loaded warns, and does not take the others down.

    Args:
        group: of entry points, such as `metarl.families`.
        what: the plugins bring, for the warning.
        stacklevel: of the warning, counted from the caller.
    """
    found = importlib.metadata.entry_points(group=group)
    for entry_point in sorted(found, key=lambda point: (point.name != "metarl_envs", point.name)):
        try:
            entry_point.load()
        except Exception as error:
            warnings.warn(
                f"the {what} of plugin {entry_point.name!r} could not be loaded: {error!r}",
                stacklevel=stacklevel + 1,
            )
