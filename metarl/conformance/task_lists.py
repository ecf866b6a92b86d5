"""Checks of what is sampled: tasks as JSON, fixed lists apart from training and from each other."""

import itertools
import json

import numpy as np

from metarl.conformance.probes import SEED, CheckFailed, fixed_lists
from metarl.tasks import TaskDistribution, Tasks
from metarl.tasks.distribution import SPLIT_SIZES

TRAINING_DRAWS = 300
"""Training tasks that no fixed list may hold."""


def check_json(family: TaskDistribution) -> None:
    """Tasks of training and of every list come back from JSON exactly as they were."""
    for name, tasks in {"train": family.sample(SEED, 0, 20), **fixed_lists(family)}.items():
        family.validate(tasks)
        text = tasks.to_json()
        _require_json(name, text)
        back = Tasks.from_json(text)
        if back != tasks or back.content_hash() != tasks.content_hash():
            raise CheckFailed(
                f"tasks of {name} are others after JSON: {tasks[0].to_json()} comes back as "
                f"{back[0].to_json()}; name parameters by strings, and draw plain numbers"
            )


def _require_json(name: str, text: str) -> None:
    def refuse(constant: str) -> None:
        raise CheckFailed(
            f"tasks of {name} hold {constant}, which JSON does not have; "
            "draw finite numbers, and mark what is absent by a number or a parameter of its own"
        )

    json.loads(text, parse_constant=refuse)


def check_splits(family: TaskDistribution) -> str | None:
    """No task twice in a list, none in two lists or in training, ood outside training's ranges.

    A family with finitely many training tasks may have them all in validation and in test.
    """
    lists = fixed_lists(family)
    for name, tasks in lists.items():
        _check_list(family, name, tasks)
    training = _rows(family.sample(SEED, 0, TRAINING_DRAWS))
    apart = {name: _rows(tasks) for name, tasks in lists.items()}
    if family.is_finite():
        apart = {n: rows for n, rows in apart.items() if set(rows) != set(training)}
    for (a, rows), (b, others) in itertools.combinations([("train", training), *apart.items()], 2):
        shared = set(rows) & set(others)
        if shared:
            raise CheckFailed(
                f"{a} and {b} share {len(shared)} task(s), e.g. {min(shared)}; give {b} ranges "
                f"of its own in {b}_parameters that leave out those of {a}"
            )
    _check_ood(family, lists.get("ood"))
    whole = [name for name in lists if name not in apart]
    return f"{' and '.join(whole)} hold all {len(set(training))} training tasks" if whole else None


def _check_list(family: TaskDistribution, name: str, tasks: Tasks) -> None:
    family.validate(tasks)
    rows = _rows(tasks)
    repeated = [row for row in rows if rows.count(row) > 1]
    if repeated:
        raise CheckFailed(
            f"{name} holds {repeated[0]} {rows.count(repeated[0])} times; draw from finitely many "
            f"tasks as a Choice of at most {max(SPLIT_SIZES.values())}, so that each is listed "
            f"once, or widen {name}_parameters"
        )
    parameters = {**family.parameters, **getattr(family, f"{name}_parameters")}
    countable = all(parameter.support() is not None for parameter in parameters.values())
    if len(tasks) != SPLIT_SIZES[name] and not countable:
        raise CheckFailed(
            f"{name} has {len(tasks)} tasks instead of {SPLIT_SIZES[name]}; "
            "leave `split` as TaskDistribution has it, and give ranges"
        )


def _check_ood(family: TaskDistribution, tasks: Tasks | None) -> None:
    if tasks is None:
        return
    inside = [index for index in range(len(tasks)) if _in_training_ranges(family, tasks[index])]
    if inside:
        raise CheckFailed(
            f"{len(inside)} of {len(tasks)} ood tasks lie in the training ranges, e.g. "
            f"{_rows(tasks[inside[0]])[0]}; give ood_parameters ranges that training never draws"
        )


def _in_training_ranges(family: TaskDistribution, task: Tasks) -> bool:
    return all(
        parameter.contains(np.asarray(task[name][0]))
        for name, parameter in family.parameters.items()
    )


def _rows(tasks: Tasks) -> list[str]:
    """Each task as JSON text."""
    return [json.dumps(record) for record in json.loads(tasks.to_json())]
