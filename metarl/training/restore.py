"""Experiments from run folders: what a run is made of, and what its last checkpoint holds."""

import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from metarl.config import Config, ExperimentConfig, load_config
from metarl.errors import UserError
from metarl.training.checkpoints import Checkpoints
from metarl.training.experiment import Experiment
from metarl.training.run_folder import RunFolder
from metarl.training.trainable import Trainable


def make_experiment(config: ExperimentConfig) -> Trainable:
    """The experiment that a configuration of any kind describes; UserError where it cannot be."""
    return pkgutil.resolve_name(config.experiment).from_config(config)


def open_run(
    path: str | Path, overrides: Mapping[str, object] | None = None
) -> tuple[RunFolder, Experiment]:
    """A meta-RL run and its experiment, still untrained; `restore` gives it what it learned.

    `overrides` change the run's configuration, by dotted key. Raises UserError for a folder that
    is no run or one of another kind, and for a configuration that is wrong.
    """
    run = RunFolder.open(path)
    config = load_config(run.config_file, overrides)
    if not isinstance(config, Config):
        raise UserError(f"{path} is no meta-RL run: {run.config_file} has no section `tasks`")
    return run, Experiment.from_config(config)


def restore(experiment: Trainable, run: RunFolder) -> tuple[int, dict[str, Any]]:
    """Give an experiment what the run's last checkpoint holds; its iteration and whole content.

    Raises UserError for a checkpoint that is missing, damaged, or of another experiment.
    """
    iteration, state = Checkpoints(run.checkpoints).load_latest()
    _load_state(experiment, state, run)
    return iteration, state


def _load_state(experiment: Trainable, state: dict[str, Any], run: RunFolder) -> None:
    """Give an experiment what a checkpoint holds; UserError when it belongs to another one."""
    try:
        _check_shapes(state, experiment.state_dict())
        experiment.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(
            f"the checkpoints in {run.checkpoints} do not fit {run.config_file} ({error}); "
            "put back the config.yaml that the run started with"
        ) from error


def _check_shapes(saved: Any, own: Any, name: str = "") -> None:
    """TypeError for a tensor of another shape, which a learner might take without noticing."""
    if isinstance(saved, dict) and isinstance(own, dict):
        for key in saved.keys() & own.keys():
            _check_shapes(saved[key], own[key], f"{name}.{key}".lstrip("."))
    elif isinstance(saved, Tensor) and isinstance(own, Tensor) and saved.shape != own.shape:
        raise TypeError(f"{name} has shape {list(saved.shape)}, not {list(own.shape)}")
