"""Evaluation of a run folder."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.evaluate import evaluate
from metarl.training.experiment import Experiment
from metarl.training.metrics import log_evaluation
from metarl.training.restore import open_run, restore
from metarl.training.run_folder import RunFolder, collect_versions


def evaluate_run(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[AdaptationCurve, Path]:
    """Evaluate the last checkpoint of a run; writes `RUN/evaluation/<split>.{json,csv,png}`.

    Args:
        path: the run folder; a training may be going on in it.
        overrides: of the configuration's `evaluation` and `run.threads`, by dotted key.
        on_step: called as each point of the curve is done.

    Returns the curve and the path of its picture.
    """
    run, experiment = open_run(path, overrides)
    config, settings = experiment.config, experiment.config.evaluation
    _refuse_unfair(settings.split, experiment, run)
    iteration, state = restore(experiment, run)
    sampler = experiment.sampler(settings.tasks, settings.episodes)
    curve = evaluate(experiment.learner, sampler, settings, on_step)
    details = {
        **curve.details,
        "algorithm": config.algorithm.name,
        "seed": config.run.seed,
        "iteration": iteration,
        "training_environment_steps": state["environment_steps"],
        "versions": collect_versions(),
    }
    curve = dataclasses.replace(curve, details=details)
    picture = curve.save(run.evaluation, settings.split)
    log_evaluation(run.path, curve.mean, settings.split, picture, iteration)
    return curve, picture


def _refuse_unfair(split: str, experiment: Experiment, run: RunFolder) -> None:
    """The task list that the run recorded must still be the one we evaluate on."""
    recorded = run.read_versions().get("task_lists", {}).get(split)
    now = experiment.family.split(split).content_hash()
    if recorded is not None and recorded != now:
        raise UserError(
            f"the {split} tasks of {experiment.family.name} have changed since {run.path} was "
            f"trained ({recorded}, now {now}); evaluate with the version that trained it"
        )
