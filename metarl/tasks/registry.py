"""Names of task families: `register`, `make`, `names`, and the plugins that add to them.

A package adds families by naming a module in the entry-point group `metarl.families`; importing
that module runs its `@register` lines. `metarl_envs` is the first such plugin.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metarl import gymnasium_ids
from metarl.errors import UserError, nearest
from metarl.plugins import import_named, load_plugins
from metarl.tasks.distribution import TaskDistribution

Family = TypeVar("Family", bound=TaskDistribution)

ENTRY_POINT_GROUP = "metarl.families"

_families: dict[str, type[TaskDistribution]] = {}
_discovered = False


def register(name: str) -> Callable[[type[Family]], type[Family]]:
    """Class decorator that gives a family its name, e.g. `HalfCheetahVel-v0`.

    The family is then known to Gymnasium too, as `metarl/HalfCheetahVel-v0`.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*-v\d+", name):
        raise ValueError(f"a family's name looks like 'HalfCheetahVel-v0', got {name!r}")

    def add(family: type[Family]) -> type[Family]:
        known = _families.get(name)
        # The same class again is a module that was imported anew.
        if known is not None and _origin(known) != _origin(family):
            raise ValueError(f"{name} is registered already, by {known.__module__}")
        family.name = name
        _families[name] = family
        gymnasium_ids.add(name)
        return family

    return add


def names() -> list[str]:
    """All known families, built-in and from plugins, in alphabetical order."""
    _discover_plugins()
    return sorted(_families)


def family_class(name: str) -> type[TaskDistribution]:
    """The class of a family; UserError with the nearest known names for an unknown one.

    `module:Name-v0` imports the module first, which may lie in the current folder.
    """
    module, colon, name_there = name.rpartition(":")
    if colon:
        import_named(module)
        name = name_there
    _discover_plugins()
    if name not in _families:
        raise UserError(f"unknown task family {name!r}; {nearest(name, _families)}")
    return _families[name]


def make(name: str, **options: Any) -> TaskDistribution:
    """A family by name; options go to its constructor."""
    family = family_class(name)
    _refuse_unknown(name, family, options)
    try:
        return family(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} does not take these options: {error}") from error


def _refuse_unknown(name: str, family: type, options: Mapping[str, Any]) -> None:
    """Answer an option that the constructor does not have with those that it has."""
    known = inspect.signature(family).parameters
    unknown = [option for option in options if option not in known]
    if unknown and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        raise UserError(
            f"{name} does not take these options: {', '.join(unknown)}; "
            f"it takes {', '.join(known) or 'none'}"
        )


def _origin(family: type[TaskDistribution]) -> tuple[str, str]:
    return family.__module__, family.__qualname__


def _discover_plugins() -> None:
    global _discovered
    if _discovered:
        return
    _discovered = True
    load_plugins(ENTRY_POINT_GROUP, "task families", stacklevel=3)
