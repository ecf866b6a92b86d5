"""Training classes in parts, each a task of its own, for multi-task methods."""

import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.learner import Problem


def part_of_class(problem: Problem, parts: int | None) -> Tensor:
    """`[C]` int64: which part (0, 1, ...) each training class is in.

    Args:
        problem: with its training classes and their groups.
        parts: how many; whole groups (alphabets, domains) are dealt out in turn, or single classes
            where there are no groups. None: every group is a part.

    Raises UserError where there are no groups and no number, or too few classes.
    """
    groups = problem.training_groups or tuple(range(problem.training_classes))
    if parts is None:
        if not problem.training_groups:
            raise UserError("algorithm.tasks: the classes are in no groups; give a number of tasks")
        parts = max(groups) + 1
    if max(groups) + 1 < parts:
        kind = "groups" if problem.training_groups else "classes"
        raise UserError(
            f"algorithm.tasks: {max(groups) + 1} {kind} cannot be dealt to {parts} tasks"
        )
    return torch.tensor(groups) % parts
