"""L continual learners in one pass: methods x strengths x seeds, stacked.

They share no parameter and no sample, so each learns as it would alone; what a method adds to
PPO's updates is a rule for its own rows of the stack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.algorithms.ppo import Samples, StackedPPO, UpdateRule
from metarl.continual.methods import Method, Setting, find_method
from metarl.continual.record import Row
from metarl.policies import Parameters
from metarl.sampling import Trajectories
from metarl.workers import Workers, chunks


def rows_of(methods: Mapping[str, Sequence[float]], seeds: int) -> tuple[Row, ...]:
    """The L learners: the seeds of a strength side by side, the strengths of a method likewise."""
    return tuple(
        Row(name, strength, seed)
        for name, strengths in methods.items()
        for strength in (strengths or (None,))
        for seed in range(seeds)
    )


@dataclass(frozen=True)
class Group:
    """The learners of one method."""

    name: str
    rows: slice
    """Which of the L learners they are."""
    method: Method


class ContinualPPO:
    """L learners that go through the sequence together.

    Args:
        setting: what all methods have in common.
        rows: what each learner is, those of a method side by side.
        initial: where they start, stacked `[L, ...]`.
        device: where they learn; rollouts stay on the CPU.
        workers: threads for chunks of learners on the CPU.
    """

    def __init__(
        self,
        setting: Setting,
        rows: Sequence[Row],
        initial: Parameters,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.setting = setting
        self.rows = tuple(rows)
        initial = {name: value.to(device) for name, value in initial.items()}
        self.groups = [_group(name, self.rows, setting, initial) for name in _names(self.rows)]
        size = setting.config.ppo.tasks_per_chunk
        parts = [
            slice(group.rows.start + part.start, group.rows.start + part.stop)
            for group in self.groups
            for part in chunks(group.rows.stop - group.rows.start, size)
        ]
        self.ppo = StackedPPO(setting.actor_critic, initial, device, workers, parts)
        self.rule = _GroupedRule(self.groups)

    @property
    def parameters(self) -> Parameters:
        """Of all learners, `[L, ...]`, cut from any graph."""
        return self.ppo.parameters

    def views(self, task: int) -> Parameters:
        """The parameters `[L, ...]` that act in a task."""
        parameters = self.parameters
        pieces = [g.method.view(_cut(parameters, g.rows), task) for g in self.groups]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in parameters}

    def begin_stage(self, stage: int) -> None:
        """Go over to a stage's task; the stages count from 0."""
        parameters = self.parameters
        for group in self.groups:
            resets = self.setting.config.optimizer_at_switch == "reset"
            if stage and (resets or group.method.forgets_optimizer):
                self.ppo.reset_optimizers(group.rows)
            self._replace(group, group.method.begin_stage(stage, _cut(parameters, group.rows)))

    def before_iteration(self, stage: int, iteration: int) -> None:
        """Let the methods know that an iteration of the stage begins; they count from 0."""
        parameters = self.parameters
        for group in self.groups:
            own = _cut(parameters, group.rows)
            self._replace(group, group.method.before_iteration(stage, iteration, own))

    def update(
        self, trajectories: Trajectories, generators: Sequence[np.random.Generator]
    ) -> Metrics:
        """One PPO update of every learner on the episodes `[L, N, T, ...]` of its policy."""
        return self.ppo.update(trajectories, generators, self.rule)

    def end_stage(
        self, stage: int, trajectories: Trajectories, generators: Sequence[np.random.Generator]
    ) -> None:
        """Let the methods remember the stage's task, from episodes of the final policies."""
        parameters = self.parameters
        for group in self.groups:
            own = _cut(parameters, group.rows)
            episodes = trajectories[group.rows].to(self.ppo.device)
            samples = self.setting.actor_critic.prepare(own, episodes)
            group.method.end_stage(stage, own, samples, generators[group.rows])

    def _replace(self, group: Group, parameters: Parameters | None) -> None:
        if parameters is not None:
            self.ppo.replace(parameters, group.rows)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        methods = {group.name: group.method.state_dict() for group in self.groups}
        return {"ppo": self.ppo.state_dict(), "methods": methods}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.ppo.load_state_dict(state["ppo"])
        for group in self.groups:
            group.method.load_state_dict(state["methods"][group.name])


class _GroupedRule(UpdateRule):
    """Asks the method that a chunk belongs to."""

    def __init__(self, groups: Sequence[Group]):
        self.groups = groups

    def loss(self, parameters: Parameters, samples: Samples, rows: slice) -> Tensor | None:
        group, own = self._find(rows)
        return group.method.loss(parameters, samples, own)

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        group, own = self._find(rows)
        return group.method.gradients(gradients, parameters, own)

    def after_step(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, rows: slice
    ) -> None:
        group, own = self._find(rows)
        group.method.after_step(parameters, optimizer, own)

    def _find(self, rows: slice) -> tuple[Group, slice]:
        group = next(group for group in self.groups if rows.start < group.rows.stop)
        start = group.rows.start
        return group, slice(rows.start - start, rows.stop - start)


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def _group(name: str, rows: Sequence[Row], setting: Setting, initial: Parameters) -> Group:
    indices = [index for index, row in enumerate(rows) if row.method == name]
    own = slice(indices[0], indices[-1] + 1)
    parameters = _cut(initial, own)
    device = next(iter(parameters.values())).device
    strengths = torch.tensor([rows[index].strength or 0.0 for index in indices], device=device)
    return Group(name, own, find_method(name)(setting, parameters, strengths))


def _cut(parameters: Parameters, rows: slice) -> Parameters:
    return {name: value[rows] for name, value in parameters.items()}
