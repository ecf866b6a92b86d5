"""Names of task families: `register`, `make`, `names`, and the plugins that add to them.

A package adds families by naming a module in the entry-point group `metarl.families`; importing
that module runs its `@register` lines. `metarl_envs` is the first such plugin.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metarl import gymnasium_ids
from metarl.errors import UserError
from metarl.plugins import find_registered, load_plugins, require_free
from metarl.tasks.distribution import TaskDistribution

Family = TypeVar("Family", bound=TaskDistribution)

ENTRY_POINT_GROUP = "metarl.families"

_families: dict[str, type[TaskDistribution]] = {}


def register(name: str) -> Callable[[type[Family]], type[Family]]:
    """Class decorator that gives a family its name, e.g. `HalfCheetahVel-v0`.

    The family is then known to Gymnasium too, as `metarl/HalfCheetahVel-v0`.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*-v\d+", name):
        raise ValueError(f"a family's name looks like 'HalfCheetahVel-v0', got {name!r}")

    def add(family: type[Family]) -> type[Family]:
        require_free(name, _families.get(name), family)
        family.name = name
        _families[name] = family
        gymnasium_ids.add(name)
        return family

    return add


def names() -> list[str]:
    """All known families, built-in and from plugins, in alphabetical order."""
    return sorted(_known())


def family_class(name: str) -> type[TaskDistribution]:
    """The class of a family; UserError with the nearest known names for an unknown one.

    `module:Name-v0` imports the module first, which may lie in the current folder.
    """
    return find_registered(name, _known, "task family")


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


def _known() -> Mapping[str, type[TaskDistribution]]:
    load_plugins(ENTRY_POINT_GROUP, "task families", stacklevel=3)
    return _families
