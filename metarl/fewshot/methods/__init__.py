"""Few-shot methods, by the names that `algorithm.name` takes.

A package adds methods by naming a module in the entry-point group `metarl.few_shot_methods`;
importing that module runs its `@register_method` lines.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from metarl.fewshot.learner import FewShotLearner
from metarl.plugins import docstring_summary, find_registered, load_plugins, require_free

AnyLearner = TypeVar("AnyLearner", bound=type[FewShotLearner])

ENTRY_POINT_GROUP = "metarl.few_shot_methods"


@dataclass(frozen=True)
class Method:
    """A method, its settings, and one line about it."""

    config: type
    learner: type[FewShotLearner]
    summary: str


METHODS: dict[str, Method] = {}
"""What is registered so far; `methods` has all that is installed."""


def register_method(name: str, config: type) -> Callable[[AnyLearner], AnyLearner]:
    """Class decorator that gives a method its name in `algorithm.name`, e.g. `prototypical`.

    The first line of the class docstring is its summary.

    Args:
        name: lower-case letters, digits and underscores.
        config: the dataclass of its settings; it has a field `name`, the default being this name,
            and `str` in code of your own, because a configuration may say `module:name`.

    Raises ValueError for a name or settings of another form, and for a name that is taken;
    TypeError for a class that is no `FewShotLearner`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"a method's name looks like 'prototypical', got {name!r}")
    if not (dataclasses.is_dataclass(config) and getattr(config, "name", None) == name):
        raise ValueError(f"the settings of {name} must be a dataclass with `name: str = {name!r}`")

    def add(learner: AnyLearner) -> AnyLearner:
        if not (isinstance(learner, type) and issubclass(learner, FewShotLearner)):
            raise TypeError(f"{name} must derive from metarl.fewshot.learner.FewShotLearner")
        known = METHODS.get(name)
        require_free(name, known.learner if known else None, learner)
        METHODS[name] = Method(config, learner, docstring_summary(learner))
        return learner

    return add


def methods() -> dict[str, Method]:
    """All known methods by name, built-in and from plugins."""
    load_plugins(ENTRY_POINT_GROUP, "few-shot methods", stacklevel=2)
    return dict(METHODS)


def find_method(name: str) -> Method:
    """A method by name; UserError with the nearest known names for an unknown one.

    `module:name` imports the module first, which may lie in the current folder.
    """
    return find_registered(name, methods, "few-shot method")


# Below, because they register themselves above.
from metarl.fewshot.methods import (  # noqa: E402, F401
    anil,
    cnp,
    distillation,
    domain_adaptation,
    fine_tuning,
    frozen_features,
    linear_baselines,
    maml,
    matching,
    meta_sgd,
    mutual_distance,
    platipus,
    pretrained_meta_training,
    prototypical,
    regression_baselines,
    relation,
    reptile,
    siamese,
    tfidf,
    untrained,
    versa,
    weighted_multi_task,
)
