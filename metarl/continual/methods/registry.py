"""Names of continual-learning methods: `register_method`, `find_method`, and the plugins' methods.

A package adds methods by naming a module in the entry-point group `metarl.continual_methods`;
importing that module runs its `@register_method` lines.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from metarl.continual.methods.method import Method
from metarl.plugins import docstring_summary, find_registered, load_plugins, require_free

AnyMethod = TypeVar("AnyMethod", bound=type[Method])

ENTRY_POINT_GROUP = "metarl.continual_methods"
METHODS: dict[str, type[Method]] = {}
"""What is registered so far; `methods` has all that is installed."""
SUMMARIES: dict[str, str] = {}
"""A line about a method for `metarl list`, where it is not the first of its docstring."""


def register_method(name: str, summary: str | None = None) -> Callable[[AnyMethod], AnyMethod]:
    """Class decorator that gives a method its name in `algorithm.methods`, e.g. `online_ewc`.

    Args:
        name: lower-case letters, digits and underscores.
        summary: a line for `metarl list`; None: the first line of the class docstring.

    Raises ValueError for another name or one that is taken, TypeError for a class that is no
    `Method`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"a method's name looks like 'online_ewc', got {name!r}")

    def add(method: AnyMethod) -> AnyMethod:
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise TypeError(f"{name} must derive from metarl.continual.methods.Method")
        require_free(name, METHODS.get(name), method)
        METHODS[name] = method
        if summary is not None:
            SUMMARIES[name] = summary
        return method

    return add


def methods() -> dict[str, type[Method]]:
    """All known methods by name, built-in and from plugins."""
    load_plugins(ENTRY_POINT_GROUP, "continual methods", stacklevel=2)
    return dict(METHODS)


def find_method(name: str) -> type[Method]:
    """A method by name; UserError with the nearest known names for an unknown one.

    `module:name` imports the module first, which may lie in the current folder.
    """
    return find_registered(name, methods, "method")


def summary_of(name: str) -> str:
    """One line about a known method."""
    return SUMMARIES.get(name) or docstring_summary(METHODS[name])
