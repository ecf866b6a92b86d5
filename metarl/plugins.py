"""Code from elsewhere: modules that a name points to, and plugins that packages declare."""

import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from metarl.errors import UserError, nearest

T = TypeVar("T")

_loaded: set[str] = set()
"""Entry-point groups."""


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


def find_registered(name: str, known: Callable[[], Mapping[str, T]], what: str) -> T:
    """What is registered under a name; UserError with the nearest known ones for an unknown one.

    `module:name` imports the module first, which may lie in the current folder.

    Args:
        name: of something registered.
        known: all that is, asked after the import.
        what: it is, for the error.
    """
    module, colon, name_there = name.rpartition(":")
    if colon:
        import_named(module)
    registered = known()
    if name_there not in registered:
        raise UserError(f"unknown {what} {name_there!r}; {nearest(name_there, registered)}")
    return registered[name_there]


def require_free(name: str, known: type | None, new: type) -> None:
    """ValueError where a name is another class's already; the same class again is a module that was
    imported anew."""
    if known is not None and _origin(known) != _origin(new):
        raise ValueError(f"{name} is registered already, by {known.__module__}")


def _origin(registered: type) -> tuple[str, str]:
    return registered.__module__, registered.__qualname__


def docstring_summary(registered: type) -> str:
    """The first line of a class docstring, without its full stop."""
    return (registered.__doc__ or "").strip().partition("\n")[0].removesuffix(".")


class ConfigClasses(Mapping[str, type]):
    """The settings dataclass (`config`) of each thing registered, by its name or `module:name`.

    Args:
        known: all that is registered, by name.
        find: one of them, by its name or by `module:name`.
    """

    def __init__(self, known: Callable[[], Mapping[str, Any]], find: Callable[[str], Any]):
        self._known, self._find = known, find

    def __getitem__(self, name: str) -> type:
        return (self._find(name) if ":" in name else self._known()[name]).config

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


def load_plugins(group: str, what: str, stacklevel: int) -> None:
    """Import what installed packages name in an entry-point group; their code registers itself.
    A group that is loaded already, or being loaded, is left alone.

    Our own comes first: no plugin can take the name of something built in. One that cannot be
    loaded warns, and does not take the others down.

    Args:
        group: of entry points, such as `metarl.families`.
        what: the plugins bring, for the warning.
        stacklevel: of the warning, counted from the caller.
    """
    if group in _loaded:
        return
    _loaded.add(group)
    found = importlib.metadata.entry_points(group=group)
    for entry_point in sorted(found, key=lambda point: (point.name != "metarl_envs", point.name)):
        try:
            entry_point.load()
        except Exception as error:
            warnings.warn(
                f"the {what} of plugin {entry_point.name!r} could not be loaded: {error!r}",
                stacklevel=stacklevel + 1,
            )
