"""Metrics of continual learning: pure functions of the returns of one or many learners.

R `[..., S + 1, J]` is the return on each of J distinct tasks before training (row 0) and after each
of S stages (row s, s = 1..S); `stages[s - 1]` is the task that stage s trains on, and a task may
be trained on in several stages. p is R normalised (`Normalization`). First stage f_j and last stage
s_j of task j, both counted from 1, stand in `first_stages` and `last_stages`. Axes in front,
learners or seeds, pass through.

Nothing is dropped from a mean unless `counted` says so: exact zeros count, and NaN, a stage that a
run has not reached, makes the mean NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


def first_stages(stages: Sequence[int]) -> np.ndarray:
    """f_j `[J]`: the first stage, 1 to S, that trains on each task."""
    order = np.asarray(stages)
    return np.array([np.flatnonzero(order == task)[0] + 1 for task in range(order.max() + 1)])


def last_stages(stages: Sequence[int]) -> np.ndarray:
    """s_j `[J]`: the last stage, 1 to S, that trains on each task."""
    order = np.asarray(stages)
    return np.array([np.flatnonzero(order == task)[-1] + 1 for task in range(order.max() + 1)])


def after_training(matrix: np.ndarray, stages: Sequence[int]) -> np.ndarray:
    """R[s_j][j] `[..., J]`: return on each task right after it was last trained on."""
    last = last_stages(stages)
    return np.asarray(matrix)[..., last, np.arange(len(last))]


@dataclass(frozen=True, eq=False)
class Normalization:
    """p = (R - random) / (scratch - random), for each task: 0 is random actions, 1 from-scratch.

    A task on which from-scratch learners are no better than random actions has no such scale: its
    normalised returns are NaN, and `learned` says so.
    """

    random: np.ndarray
    """`[J]`: return of uniformly random actions."""
    scratch: np.ndarray
    """`[J]`: return of policies trained on this task alone, as long as in a stage."""

    @classmethod
    def of(
        cls, random: ArrayLike, scratch_matrices: ArrayLike, stages: Sequence[int]
    ) -> "Normalization":
        """From `[J]`, and R `[seeds, S + 1, J]` of from-scratch learners: the mean over seeds of
        R[s_j][j]."""
        scratch = after_training(np.asarray(scratch_matrices, np.float64), stages).mean(axis=0)
        return cls(np.asarray(random, dtype=np.float64), scratch)

    @property
    def learned(self) -> np.ndarray:
        """`[J]`: whether from-scratch learners get more than random actions."""
        return self.scratch > self.random

    def __call__(self, returns: ArrayLike) -> np.ndarray:
        """p of returns `[..., J]`; NaN for tasks that were not learned."""
        return (np.asarray(returns, dtype=np.float64) - self.random) / self._scale

    def of_stages(self, returns: ArrayLike, stages: Sequence[int]) -> np.ndarray:
        """p of returns `[..., S]`, those of stage s on the task that it trains on."""
        order = np.asarray(stages)
        difference = np.asarray(returns, dtype=np.float64) - self.random[order]
        return difference / self._scale[order]

    @property
    def _scale(self) -> np.ndarray:
        return np.where(self.learned, self.scratch - self.random, np.nan)


def average_performance(performance: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """P = mean_j p[S][j] (Wolczyk et al. 2021, "Continual World"), `[...]`.

    Each distinct task counts once, however often it is trained on. A task's number is that of one
    evaluation; Continual World averages its last five.

    Args:
        performance: p `[..., S + 1, J]`.
        counted: `[J]`, tasks in the mean; None: all. NaN where there is none.
    """
    return _mean(performance[..., -1, :], counted)


def forgetting(
    performance: np.ndarray, stages: Sequence[int], counted: np.ndarray | None = None
) -> np.ndarray:
    """F = mean_j (p[s_j][j] - p[S][j]) (Wolczyk et al. 2021), `[...]`.

    s_j is the *last* stage that trains on j: what repetition repairs is not forgotten. The task of
    the last stage counts, with 0. Negative where later stages improved earlier tasks.
    """
    return _mean(after_training(performance, stages) - performance[..., -1, :], counted)


def backward_transfer(
    performance: np.ndarray, stages: Sequence[int], counted: np.ndarray | None = None
) -> np.ndarray:
    """BWT = mean_j (p[S][j] - p[s_j][j]) over the tasks that the last stage does not train on.

    Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory", eq. 3, with s_j the last stage of task j.
    `[...]`; NaN with a single task. With C counted tasks, the last among them, C F = -(C - 1) BWT.
    """
    change = performance[..., -1, :] - after_training(performance, stages)
    return _mean(change, _without(stages[-1], counted, change.shape[-1]))


def zero_shot_transfer(
    performance: np.ndarray, stages: Sequence[int], counted: np.ndarray | None = None
) -> np.ndarray:
    """FWT = mean_j (p[f_j - 1][j] - p[0][j]) over the tasks that the first stage does not train on.

    What the stages before the first one of a task did for it, unseen: Lopez-Paz & Ranzato 2017,
    eq. 4, whose reference is the initial parameters, too. `[...]`; NaN with a single task.
    """
    before = first_stages(stages) - 1
    gain = performance[..., before, np.arange(len(before))] - performance[..., 0, :]
    return _mean(gain, _without(stages[0], counted, gain.shape[-1]))


def isolated_forgetting(performance: np.ndarray, stages: Sequence[int]) -> np.ndarray:
    """p[s - 1][j] - p[s][j]: what stage s alone made forgotten of task j, `[..., S, J]`.

    Defined where j was trained on before stage s but is not trained on in it, NaN elsewhere
    (Powers et al. 2022, "CORA"; there every task has one stage, and returns are divided
    by the largest of a task over all runs instead of being normalised as ours are).
    """
    stage = np.arange(1, len(stages) + 1)[:, None]
    return np.where(
        (stage > first_stages(stages)) & _not_trained(stages),
        -np.diff(performance, axis=-2),
        np.nan,
    )


def isolated_transfer(performance: np.ndarray, stages: Sequence[int]) -> np.ndarray:
    """p[s][j] - p[s - 1][j]: what stage s alone did for task j, not yet trained on, `[..., S, J]`.

    Defined where s < f_j, NaN elsewhere: the zero-shot forward transfer of Powers et al. 2022,
    "CORA". Its sum over s is task j's term of `zero_shot_transfer`.
    """
    stage = np.arange(1, len(stages) + 1)[:, None]
    return np.where(stage < first_stages(stages), np.diff(performance, axis=-2), np.nan)


def training_auc(
    training_returns: ArrayLike, stages: Sequence[int], normalization: Normalization
) -> np.ndarray:
    """AUC_s `[..., S]`: mean over the iterations of stage s of the normalised training return.

    The area under the training curve of a stage whose length is 1 (Wolczyk et al. 2021),
    from the episodes of the updates themselves.

    Args:
        training_returns: `[..., S * iterations]`, each on its stage's task.
    """
    returns = np.asarray(training_returns, dtype=np.float64)
    means = returns.reshape(*returns.shape[:-1], len(stages), -1).mean(axis=-1)
    return normalization.of_stages(means, stages)


def forward_transfer_per_stage(auc: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """FT_s = (AUC_s - AUC_s^ref) / (1 - AUC_s^ref), `[..., S]` (Wolczyk et al. 2021).

    The reference is the AUC of from-scratch learners in the same stage. 1 is a stage that begins
    at from-scratch's final return, 0 no transfer; there is no lower bound, so report the two AUCs
    beside it. NaN, undefined, where the reference reaches 1.
    """
    auc, reference = np.asarray(auc, np.float64), np.asarray(reference, np.float64)
    left = np.where(reference < 1.0, 1.0 - reference, np.nan)
    return (auc - reference) / left


def forward_transfer(
    auc: ArrayLike, reference: ArrayLike, counted: np.ndarray | None = None
) -> np.ndarray:
    """FT = mean_s FT_s over all stages, repeated ones too, `[...]`; see the terms' function.

    Args:
        auc: `[..., S]`.
        reference: `[..., S]` or `[S]`.
        counted: `[S]`, stages in the mean; None: all.
    """
    return _mean(forward_transfer_per_stage(auc, reference), counted)


def mean_over_stages(auc: ArrayLike, counted: np.ndarray | None = None) -> np.ndarray:
    """Mean of AUCs `[..., S]` over stages, all of them or the counted ones, `[...]`."""
    return _mean(np.asarray(auc, dtype=np.float64), counted)


def adaptation_gain(adaptation: np.ndarray) -> np.ndarray:
    """Return after n updates minus the return before them, `[..., S + 1]`.

    Args:
        adaptation: `[..., S + 1, n + 1]`, return on the held-out task after 0..n updates on it;
            NaN without any.
    """
    if adaptation.shape[-1] == 0:
        return np.full(adaptation.shape[:-1], np.nan)
    return adaptation[..., -1] - adaptation[..., 0]


def adaptation_area(adaptation: np.ndarray) -> np.ndarray:
    """Mean height of the adaptation curve, `[..., S + 1]`: its area over 0..n updates, over n.

    By the trapezoidal rule, so that the first and the last return count half. Of two learners with
    the same gain it is higher for the one that gains earlier.
    """
    if adaptation.shape[-1] < 2:
        return adaptation.sum(axis=-1) if adaptation.shape[-1] else adaptation_gain(adaptation)
    return np.trapezoid(adaptation, axis=-1) / (adaptation.shape[-1] - 1)


def _mean(values: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """Over the last axis, of the counted entries; NaN where there is none."""
    chosen = values if counted is None else values[..., counted]
    if chosen.shape[-1] == 0:
        return np.full(chosen.shape[:-1], np.nan)
    return chosen.mean(axis=-1)


def _without(task: int, counted: np.ndarray | None, tasks: int) -> np.ndarray:
    return (np.arange(tasks) != task) & (True if counted is None else counted)


def _not_trained(stages: Sequence[int]) -> np.ndarray:
    """`[S, J]`: whether stage s does not train on task j."""
    return np.asarray(stages)[:, None] != np.arange(max(stages) + 1)
