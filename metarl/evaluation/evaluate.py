"""The evaluation protocol, one for all learners: adaptation on fixed, held-out tasks."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from metarl.algorithms import Learner
from metarl.config import EvaluationConfig
from metarl.evaluation.curves import AdaptationCurve
from metarl.sampling import Sampler


def evaluate(
    learner: Learner,
    sampler: Sampler,
    settings: EvaluationConfig,
    on_step: Callable[[int], None] | None = None,
) -> AdaptationCurve:
    """Adapt to the first tasks of a split and record the return after every step.

    Episodes that adaptation consumes are also those that measure the policy before it: a point of
    the curve costs the environment steps of all points before it.

    Args:
        learner: not changed.
        sampler: for `settings.tasks` tasks with `settings.episodes` episodes each.
        settings: split, steps, seed, learning rates.
        on_step: called with 0, 1, ... as each point of the curve is done.
    """
    family = sampler.family
    listed = family.split(settings.split)
    tasks = listed.cycle(settings.tasks)
    sampler.begin(tasks, f"evaluation/{settings.split}", settings.seed, 0)
    returns, steps, failed = [], [0.0], 0
    trials = learner.trials_are_independent
    points = learner.adaptation(sampler, settings.steps, settings.inner_learning_rates)
    for point, trajectories in enumerate(points):
        returns.append(trajectories.returns)
        taken = float(trajectories.environment_steps.double().mean())
        # In trials of their own, every episode costs its own trial only.
        steps.append(steps[-1] + taken / (sampler.episodes if trials else 1))
        failed += int(trajectories.failed.sum())
        if on_step:
            on_step(point)
    details: dict[str, Any] = {
        "family": family.name,
        "horizon": family.horizon,
        "split": settings.split,
        "split_hash": listed.content_hash(),
        "distinct_tasks": min(len(listed), settings.tasks),
        "episodes": settings.episodes,
        "independent_trials": trials,
        "evaluation_seed": settings.seed,
        "inner_learning_rates": settings.inner_learning_rates,
        "failed_episodes": failed,
        "tasks": json.loads(tasks.to_json()),
    }
    return AdaptationCurve(torch.stack(returns, dim=1).numpy(), np.array(steps[:-1]), details)
