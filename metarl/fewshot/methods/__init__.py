"""Few-shot methods, by the names that `algorithm.name` takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from metarl.fewshot.learner import FewShotLearner

AnyLearner = TypeVar("AnyLearner", bound=type[FewShotLearner])


@dataclass(frozen=True)
class Method:
    """A method, its settings, and one line about it."""

    config: type
    learner: type[FewShotLearner]
    summary: str


METHODS: dict[str, Method] = {}
"""What is registered; the modules of this package register themselves below."""


def register_method(name: str, config: type) -> Callable[[AnyLearner], AnyLearner]:
    """Class decorator that gives a `FewShotLearner` its name; `config` is its settings dataclass,
    whose first field is `name`. The class docstring's first line is its summary."""

    def add(learner: AnyLearner) -> AnyLearner:
        summary = (learner.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
        METHODS[name] = Method(config, learner, summary)
        return learner

    return add


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
