"""From the records of continual runs to one line of metrics for every method and strength."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.continual.record import ContinualRecord
from metarl.evaluation.comparison_statistics import Estimate

METRICS: dict[str, str] = {
    "average_performance": "normalised return on all tasks at the end (1: from-scratch, 0: random)",
    "forgetting": "normalised return lost since a task was last trained, mean over all tasks",
    "backward_transfer": "normalised return won since then, mean over tasks but the last one trained",
    "forward_transfer": "training AUC above the from-scratch reference's, over what it leaves to 1",
    "auc": "mean normalised training return over the iterations of a stage, mean over stages",
    "auc_reference": "the same of the from-scratch reference",
    "zero_shot_transfer": "normalised return won on a task before it is first trained",
    "adaptation_gain": "return won on the held-out task by a few updates, after the last stage",
    "adaptation_area": "mean return on the held-out task over these updates, after the last stage",
    "dormant_units": "share of hidden units that are dormant, after the last stage",
    "stable_rank": "stable rank of the last hidden layer's features, after the last stage",
    "weight_norm": "L2 norm of the policy network's parameters, after the last stage",
    "final_return": "return at the end, not normalised, mean over tasks",
}
"""Name and meaning of every metric, in the order of tables; formulas: `metarl.continual.metrics`."""


@dataclass(frozen=True, eq=False)
class MethodSummary:
    """One method at one strength: its metrics over seeds."""

    method: str
    strength: float | None
    identity: str
    """`hidden`, `given` or `heads`."""
    variant: str
    """Settings of the algorithm in which the runs differ, `key=value, ...`; mostly empty."""
    seeds: int
    """Learners behind every number."""
    metrics: Mapping[str, Estimate]
    """By the names in `METRICS`: mean over seeds with its 95 % interval; NaN where undefined."""
    best: bool
    """Whether its average performance is the highest of the method's strengths, on these runs."""
    matrix: np.ndarray
    """R `[S + 1, J]`, not normalised, mean over seeds."""
    remarks: tuple[str, ...]
    """What these numbers do not mean."""


@dataclass(frozen=True, eq=False)
class Summary:
    """All methods of one or several runs on one sequence."""

    methods: tuple[MethodSummary, ...]
    tasks: tuple[str, ...]
    """Names of the J distinct tasks."""
    random: np.ndarray
    """`[J]`: return that is 0 after normalisation."""
    scratch: np.ndarray
    """`[J]`: return that is 1; NaN without from-scratch learners."""
    remarks: tuple[str, ...]
    """What holds for all of them: tasks that were not learned, interference, ..."""

    def __iter__(self):
        return iter(self.methods)


def summarize(records: Sequence[ContinualRecord]) -> Summary:
    """The metrics of every method, strength, identity and variant.

    Raises UserError when the records are not of the same sequence, iterations, episodes, horizon.
    """
    raise NotImplementedError


def as_rows(summaries: Sequence[MethodSummary]) -> list[dict[str, str | float | int | None]]:
    """One flat row for each, for CSV and Markdown.

    Keys: method, strength, identity, variant, seeds, best; and for every metric `name`,
    `name_low`, `name_high`, floats that are NaN where undefined.
    """
    raise NotImplementedError
