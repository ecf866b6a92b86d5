"""`TaskDistribution`: p(T), the parameters of a family and the environment they act on."""

import hashlib
import itertools
import math
from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch

from metarl.errors import UserError, nearest
from metarl.tasks.parameters import Parameter
from metarl.tasks.streams import stream
from metarl.tasks.tasks import Tasks

SPLIT_SIZES = {"validation": 40, "test": 100, "ood": 40}
"""Tasks in each fixed list; `train` is fresh draws."""


class TaskDistribution(ABC):
    """A task family: parameters with their ranges, horizon, spaces and fixed task lists.

    Subclass an engine's family (`TensorFamily`, `MujocoFamily`) rather than this class, and give
    it a name with `@register("MyFamily-v0")`. The class docstring is the family's contract.
    """

    name: str = "unregistered"
    parameters: Mapping[str, Parameter] = {}
    validation_parameters: Mapping[str, Parameter] = {}
    """Ranges of the validation list; parameters not named here keep their training range."""
    test_parameters: Mapping[str, Parameter] = {}
    """Ranges of the test list, likewise."""
    ood_parameters: Mapping[str, Parameter] = {}
    """Ranges of the list outside training, likewise."""
    visible_parameters: ClassVar[tuple[str, ...]] = ()
    """Parameters that the observation may show, as a broken sensor does; all others are hidden."""
    robot: ClassVar[str] = ""
    """The robot or world, by which families are grouped; by default the family's module."""
    named_tasks: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Tasks with names, for task sequences: what `task` makes tasks of."""
    horizon: int = 200
    """Time steps of an episode, T."""
    observation_space: gymnasium.spaces.Space
    action_space: gymnasium.spaces.Space

    def sample(self, seed: int, iteration: int, count: int) -> Tasks:
        """`count` fresh training tasks; task k comes from its own stream (seed, iteration, k)."""
        return self.sample_from(self.parameters, seed, iteration, count)

    def sample_from(
        self, parameters: Mapping[str, Parameter], seed: int, iteration: int, count: int
    ) -> Tasks:
        """As `sample`, from other distributions of the parameters, all of which are given."""
        draws = [
            self._draw(parameters, stream(seed, "tasks", iteration, task)) for task in range(count)
        ]
        return Tasks.stack(draws)

    def split(self, name: str) -> Tasks:
        """The fixed tasks of `validation`, `test` or `ood`, the same on every machine.

        A family with finitely many tasks has them all, once each, in validation and in test.
        """
        if name not in SPLIT_SIZES:
            raise UserError(f"unknown split {name!r}; known: {', '.join(SPLIT_SIZES)}")
        if name == "ood" and not self.ood_parameters:
            raise UserError(
                f"{self.name} has no ood split: no task lies outside its training range"
            )
        parameters = {**self.parameters, **getattr(self, f"{name}_parameters")}
        return self._enumerate(parameters) or self._draw_list(name, parameters)

    def task(self, values: Mapping[str, Any]) -> Tasks:
        """One task, a batch of one, from the values of its parameters; UserError for wrong ones."""
        try:
            tasks = Tasks.stack([values])
        except (ValueError, TypeError) as error:
            raise UserError(f"this is no task of {self.name}: {error}") from error
        self.validate(tasks)
        return self.as_drawn(tasks)

    def named_task(self, name: str) -> Tasks:
        """One of `named_tasks` as a batch of one; UserError for an unknown name."""
        if name not in self.named_tasks:
            known = self.named_tasks
            hint = nearest(name, known) if known else "give its parameters: it has no names"
            raise UserError(f"{self.name} has no task named {name!r}; {hint}")
        return self.task(self.named_tasks[name])

    def is_finite(self) -> bool:
        """Whether training draws from finitely many tasks, so that splits cannot be disjoint."""
        return self._enumerate(self.parameters) is not None

    def validate(self, tasks: Tasks) -> None:
        """Refuse tasks whose parameters are missing, unknown, of a wrong shape or not finite."""
        if set(tasks.names) != set(self.parameters):
            raise UserError(
                f"{self.name} has the task parameters {', '.join(self.parameters)}; "
                f"got {', '.join(tasks.names)}"
            )
        for name, parameter in self.parameters.items():
            value = tasks[name].numpy(force=True)
            if value.shape[1:] != parameter.shape:
                raise UserError(
                    f"task parameter {name} of {self.name} has shape {parameter.shape}, "
                    f"got {value.shape[1:]}"
                )
            if not np.isfinite(value).all():
                raise UserError(f"task parameter {name} of {self.name} must be finite")

    def as_drawn(self, tasks: Tasks) -> Tasks:
        """The tasks with floats wherever the family draws floats: JSON may hold 1 for 1.0."""
        return Tasks(
            {
                name: tasks[name].to(torch.float64) if self._draws_floats(name) else tasks[name]
                for name in tasks.names
            }
        )

    def _draws_floats(self, name: str) -> bool:
        parameter = self.parameters[name]
        values = parameter.support() or [parameter.draw(stream(0, "dtype"))]
        return np.result_type(*map(np.asarray, values)).kind not in "iu"

    def _draw(
        self, parameters: Mapping[str, Parameter], generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        return {name: parameters[name].draw(generator) for name in self.parameters}

    def _draw_list(self, split: str, parameters: Mapping[str, Parameter]) -> Tasks:
        # The list depends on the family's name alone, so that it is the same for every run.
        digest = hashlib.sha256(f"{self.name}/{split}".encode()).digest()
        seed = int.from_bytes(digest[:8], "little")
        draws = [
            self._draw(parameters, stream(seed, "split", 0, task))
            for task in range(SPLIT_SIZES[split])
        ]
        return Tasks.stack(draws)

    def _enumerate(self, parameters: Mapping[str, Parameter]) -> Tasks | None:
        supports = [parameters[name].support() for name in self.parameters]
        if any(support is None for support in supports):
            return None
        known: list[list[Any]] = [support for support in supports if support is not None]
        if math.prod(len(support) for support in known) > max(SPLIT_SIZES.values()):
            return None
        combinations = itertools.product(*known)
        return Tasks.stack([dict(zip(self.parameters, c, strict=True)) for c in combinations])
