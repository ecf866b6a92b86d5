"""Names of learners: `register_learner`, `find_learner`, and the plugins that add to them.

A package adds learners by naming a module in the entry-point group `metarl.learners`; importing
that module runs its `@register_learner` lines.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from metarl.errors import UserError, nearest
from metarl.plugins import import_named, load_plugins

AnyLearner = TypeVar("AnyLearner", bound=type)

ENTRY_POINT_GROUP = "metarl.learners"


@dataclass(frozen=True)
class Algorithm:
    """A learner, its settings, and one line about it."""

    config: type
    learner: Any
    summary: str


ALGORITHMS: dict[str, Algorithm] = {}
"""What is registered so far; `algorithms` has all that is installed."""
_discovered = False


def register_learner(
    name: str, config: type, summary: str | None = None
) -> Callable[[AnyLearner], AnyLearner]:
    """Class decorator that gives a learner its name in `algorithm.name`, e.g. `maml_trpo`.

    Args:
        name: lower-case letters, digits and underscores.
        config: the dataclass of its settings; it has a field `name`, the default being this name.
        summary: a line for `metarl list`; None: the first line of the class docstring.

    Raises ValueError for a name or settings of another form, and for a name that is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"a learner's name looks like 'maml_trpo', got {name!r}")
    # `str`, because a configuration may say `module:name`.
    fits = dataclasses.is_dataclass(config) and getattr(config, "name", None) == name
    if not fits or get_type_hints(config)["name"] is not str:
        raise ValueError(f"the settings of {name} must be a dataclass with `name: str = {name!r}`")

    def add(learner: AnyLearner) -> AnyLearner:
        known = ALGORITHMS.get(name)
        # The same class again is a module that was imported anew.
        if known is not None and _origin(known.learner) != _origin(learner):
            raise ValueError(f"{name} is registered already, by {known.learner.__module__}")
        first_line = (learner.__doc__ or "").strip().partition("\n")[0]
        ALGORITHMS[name] = Algorithm(config, learner, summary or first_line.removesuffix("."))
        return learner

    return add


def algorithms() -> dict[str, Algorithm]:
    """All known learners by name, built-in and from plugins."""
    _discover_plugins()
    return dict(ALGORITHMS)


def find_learner(name: str) -> Algorithm:
    """A learner by name; UserError with the nearest known names for an unknown one.

    `module:name` imports the module first, which may lie in the current folder.
    """
    module, colon, name_there = name.rpartition(":")
    if colon:
        import_named(module)
    known = algorithms()
    if name_there not in known:
        raise UserError(f"unknown algorithm {name_there!r}; {nearest(name_there, known)}")
    return known[name_there]


class ConfigClasses(Mapping[str, type]):
    """The settings dataclass of each learner by its name, or by `module:name`."""

    def __getitem__(self, name: str) -> type:
        known = algorithms()
        return find_learner(name).config if ":" in name else known[name].config

    def __iter__(self) -> Iterator[str]:
        return iter(algorithms())

    def __len__(self) -> int:
        return len(algorithms())


def _origin(learner: type) -> tuple[str, str]:
    return learner.__module__, learner.__qualname__


def _discover_plugins() -> None:
    global _discovered
    if _discovered:
        return
    _discovered = True
    load_plugins(ENTRY_POINT_GROUP, "learners", stacklevel=3)
