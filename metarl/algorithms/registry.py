"""Names of learners: `register_learner`, `find_learner`, and the plugins that add to them.

A package adds learners by naming a module in the entry-point group `metarl.learners`; importing
that module runs its `@register_learner` lines.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from metarl.plugins import docstring_summary, find_registered, load_plugins, require_free

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
        require_free(name, known.learner if known else None, learner)
        ALGORITHMS[name] = Algorithm(config, learner, summary or docstring_summary(learner))
        return learner

    return add


def algorithms() -> dict[str, Algorithm]:
    """All known learners by name, built-in and from plugins."""
    load_plugins(ENTRY_POINT_GROUP, "learners", stacklevel=2)
    return dict(ALGORITHMS)


def find_learner(name: str) -> Algorithm:
    """A learner by name; UserError with the nearest known names for an unknown one.

    `module:name` imports the module first, which may lie in the current folder.
    """
    return find_registered(name, algorithms, "algorithm")
