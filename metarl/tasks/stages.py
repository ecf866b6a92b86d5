"""A sequence of task distributions: one family, its parameters from one range after another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.errors import UserError, nearest
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.parameters import Choice, Parameter, Uniform
from metarl.tasks.tasks import Tasks

EVALUATION_SEED = 20_261_121
"""Of the tasks on which every stage is evaluated: the same in every run."""


@dataclass(frozen=True)
class TaskStages:
    """S distributions over one family's tasks, each of which is trained on for a while.

    After the last stage training stays in it.
    """

    family: TaskDistribution
    distributions: tuple[Mapping[str, Parameter], ...]
    iterations: int
    """Of each stage."""

    @classmethod
    def of(
        cls, family: TaskDistribution, ranges: Sequence[Mapping[str, object]], iterations: int
    ) -> "TaskStages":
        """From `{parameter: [low, high]}` (uniform) or `{parameter: value}` for each stage.

        Parameters that a stage does not name keep the family's distribution. UserError for ranges
        that the family cannot take.
        """
        distributions = tuple(
            {
                **family.parameters,
                **{
                    name: _parameter(family, name, value, f"tasks.stages[{index}].{name}")
                    for name, value in stage.items()
                },
            }
            for index, stage in enumerate(ranges)
        )
        return cls(family, distributions, iterations)

    def __len__(self) -> int:
        return len(self.distributions)

    def stage_of(self, iteration: int) -> int:
        """The stage, 0 to S - 1, of an iteration; these count from 1."""
        return min((iteration - 1) // self.iterations, len(self) - 1)

    def ends_at(self, iteration: int) -> bool:
        """Whether a stage ends with this iteration; 0 counts as an end."""
        return iteration % self.iterations == 0 and iteration <= self.iterations * len(self)

    def sample(self, seed: int, iteration: int, count: int) -> Tasks:
        """Fresh training tasks of the iteration's stage, as `TaskDistribution.sample`."""
        parameters = self.distributions[self.stage_of(iteration)]
        return self.family.sample_from(parameters, seed, iteration, count)

    def evaluation_tasks(self, stage: int, count: int) -> Tasks:
        """The fixed tasks that stand for a stage, the same in every run; none was trained on."""
        return self.family.sample_from(self.distributions[stage], EVALUATION_SEED, stage, count)


def _parameter(family: TaskDistribution, name: str, value: object, key: str) -> Parameter:
    if name not in family.parameters:
        hint = nearest(name, family.parameters)
        raise UserError(f"{key}: {family.name} has no task parameter {name!r}; {hint}")
    shape = family.parameters[name].shape
    given = value if isinstance(value, list | tuple) else [value, value]
    ends = [float(x) for x in given if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(given) != 2 or len(ends) != 2 or ends[0] > ends[1]:
        raise UserError(f"{key}: must be a number or a range [low, high], got {value!r}")
    low, high = ends
    return Choice([np.full(shape, low).tolist()]) if low == high else Uniform(low, high, shape)
