"""Learners of one or several records of a sequence, and the metrics of each of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metarl.config import flatten
from metarl.continual import metrics
from metarl.continual.metrics import Normalization
from metarl.continual.record import PLASTICITY, ContinualRecord, Row
from metarl.errors import UserError

SCRATCH, MULTI_TASK = "from_scratch", "multi_task"
"""Names of the methods that the others are measured against."""
# Settings, beside `methods`, that do not make two learners different things.
_SAME_THING = ("seeds", "identity", "ppo.tasks_per_chunk")


@dataclass(frozen=True)
class Group:
    """Learners that differ in nothing but their seeds: one line of a table."""

    method: str
    strength: float | None
    identity: str
    variant: str
    """Settings of the algorithm in which the records differ, `key=value, ...`; mostly empty."""

    @property
    def setting(self) -> tuple[str, str]:
        """Identity and variant."""
        return self.identity, self.variant

    def __str__(self) -> str:
        parts = [self.method, "" if self.strength is None else f"{self.strength:g}"]
        parts += ["" if self.identity == "hidden" else f"(identity {self.identity})"]
        parts += [f"({self.variant})" if self.variant else ""]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class Learner:
    """One row of one record."""

    record: ContinualRecord
    index: int
    group: Group

    @property
    def row(self) -> Row:
        """Method, strength and seed."""
        return self.record.rows[self.index]

    @property
    def luck(self) -> tuple[int, int]:
        """Learners of the same luck begin alike: seed of the run, and of the row."""
        return self.record.seed, self.row.seed

    @property
    def matrix(self) -> np.ndarray:
        """R, `[S + 1, J]`."""
        return self.record.matrix[self.index]


@dataclass(frozen=True, eq=False)
class Analysis:
    """The metrics of some learners, all normalised alike."""

    learners: Sequence[Learner]
    records: Sequence[ContinualRecord]

    @classmethod
    def of(cls, records: Sequence[ContinualRecord]) -> "Analysis":
        """Of all learners of these records, each of them once.

        Raises UserError for no records, for records of different sequences, iterations, episodes,
        horizons or adaptation steps, and for one learner with different returns in two records.
        """
        _check_comparable(records)
        return cls(_learners(records), records)

    @cached_property
    def groups(self) -> dict[Group, list[Learner]]:
        """The learners of every line of the table, in the order of the records."""
        groups: dict[Group, list[Learner]] = {}
        for each in self.learners:
            groups.setdefault(each.group, []).append(each)
        return groups

    @property
    def stages(self) -> tuple[int, ...]:
        """Which of the J distinct tasks each stage trains on."""
        return self.records[0].sequence.stages

    @property
    def names(self) -> list[str]:
        """Of the distinct tasks."""
        return self.records[0].sequence.names

    @cached_property
    def scratch(self) -> list[Learner]:
        """The from-scratch learners."""
        return [each for each in self.learners if each.group.method == SCRATCH]

    def scratch_like(self, group: Group) -> list[Learner]:
        """Those with the identity and the settings of a group."""
        return [each for each in self.scratch if each.group.setting == group.setting]

    @cached_property
    def normalization(self) -> Normalization:
        """By the mean over all records' random policies and all from-scratch learners."""
        random = np.mean([record.random for record in self.records], axis=0)
        if not self.scratch:
            return Normalization(random, np.full(len(random), np.nan))
        return Normalization.of(random, [each.matrix for each in self.scratch], self.stages)

    @cached_property
    def counted_tasks(self) -> np.ndarray:
        """`[J]`: tasks in the means, all but those that from-scratch learners failed to learn.

        What they have not got to yet stays in, and makes the means NaN.
        """
        return self.normalization.learned | np.isnan(self.normalization.scratch)

    @cached_property
    def counted_stages(self) -> np.ndarray:
        """`[S]`: stages in mean AUC and forward transfer, the same ones for all methods and seeds.

        Their tasks were learned, and no from-scratch learner's AUC reaches 1.
        """
        counted = self.counted_tasks[list(self.stages)]
        for each in self.scratch:
            counted = counted & ~(self.auc(each) >= 1.0)
        return counted

    def auc(self, learner: Learner) -> np.ndarray:
        """`[S]`; NaN for learners whose training returns are means over all tasks."""
        if learner.group.method == MULTI_TASK:
            return np.full(len(self.stages), np.nan)
        returns = learner.record.training_returns[learner.index]
        return metrics.training_auc(returns, self.stages, self.normalization)

    def reference(self, learner: Learner) -> np.ndarray:
        """AUC `[S]` of the from-scratch learner with the same luck, else the mean over seeds.

        Of from-scratch learners with the same identity and settings, where there are any.
        """
        if not self.scratch:
            return np.full(len(self.stages), np.nan)
        alike = self.scratch_like(learner.group) or self.scratch
        same = [each for each in alike if each.luck == learner.luck]
        return np.mean([self.auc(each) for each in same or alike], axis=0)

    def metrics_of(self, learner: Learner) -> dict[str, float]:
        """By the names in `metarl.continual.summary.METRICS`."""
        record, index, stages = learner.record, learner.index, self.stages
        performance, tasks = self.normalization(learner.matrix), self.counted_tasks
        auc, reference = self.auc(learner), self.reference(learner)
        adaptation = record.adaptation[index]
        found = {
            "average_performance": metrics.average_performance(performance, tasks),
            "forgetting": metrics.forgetting(performance, stages, tasks),
            "backward_transfer": metrics.backward_transfer(performance, stages, tasks),
            "zero_shot_transfer": metrics.zero_shot_transfer(performance, stages, tasks),
            "forward_transfer": metrics.forward_transfer(auc, reference, self.counted_stages),
            "auc": metrics.mean_over_stages(auc, self.counted_stages),
            "auc_reference": metrics.mean_over_stages(reference, self.counted_stages),
            "adaptation_gain": metrics.adaptation_gain(adaptation)[-1],
            "adaptation_area": metrics.adaptation_area(adaptation)[-1],
            **{name: record.plasticity[name][index, -1] for name in PLASTICITY},
            "final_return": learner.matrix[-1].mean(),
        }
        return {name: float(value) for name, value in found.items()}


def _learners(records: Sequence[ContinualRecord]) -> list[Learner]:
    """Every learner once, however many records hold it."""
    variants = _variants([record.algorithm for record in records])
    found: dict[tuple[Group, tuple[int, int]], Learner] = {}
    for record, variant in zip(records, variants, strict=True):
        for index, row in enumerate(record.rows):
            group = Group(row.method, row.strength, record.identity, variant)
            learner = Learner(record, index, group)
            first = found.setdefault((group, learner.luck), learner)
            if not np.array_equal(first.matrix, learner.matrix, equal_nan=True):
                raise UserError(
                    f"{group}, seed {row.seed} has different returns in two of these runs of seed "
                    f"{record.seed}; give one of them, or train with another run.seed"
                )
    return list(found.values())


def _variants(algorithms: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each algorithm, the settings in which they differ."""
    flat = [
        {
            key: json.dumps(value).strip('"')
            for key, value in flatten(algorithm).items()
            if key not in _SAME_THING and not key.startswith("methods.")
        }
        for algorithm in algorithms
    ]
    keys = sorted(set().union(*flat))
    differing = [key for key in keys if len({each.get(key) for each in flat}) > 1]
    return [", ".join(f"{key}={each.get(key)}" for key in differing) for each in flat]


def _check_comparable(records: Sequence[ContinualRecord]) -> None:
    if not records:
        raise UserError("no record of a continual run to summarise")
    for key in ("hash", "iterations", "episodes", "horizon"):
        values = {getattr(record.sequence, key): None for record in records}
        if len(values) > 1:
            what = "sequences (hash)" if key == "hash" else key
            shown = " and ".join(map(str, values))
            raise UserError(f"these runs have different {what}: {shown}; summarise them apart")
    updates = {record.adaptation.shape[-1] - 1 for record in records}
    if len(updates) > 1:
        shown = " and ".join(map(str, sorted(updates)))
        raise UserError(
            f"these runs have different adaptation steps: {shown}; summarise them apart"
        )
