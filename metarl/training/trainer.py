"""The training loop: sample tasks, meta-update, log, checkpoint; resumable at any moment."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from metarl.algorithms import Metrics
from metarl.config import Config, EvaluationConfig, load_config, to_yaml
from metarl.errors import UserError
from metarl.evaluation.evaluate import evaluate
from metarl.files import write_text_atomically
from metarl.sampling import Sampler
from metarl.training.checkpoints import Checkpoints
from metarl.training.experiment import Experiment
from metarl.training.interrupts import StopRequest
from metarl.training.metrics import MetricsLog
from metarl.training.progress import Progress
from metarl.training.restore import restore
from metarl.training.run_folder import (
    RunFolder,
    check_versions,
    claim_default_folder,
    collect_versions,
)

DEFAULT_ROOT = "runs"
_MAY_CHANGE = ("run.iterations", "run.environment_steps", "run.threads")


class Trainer:
    """Trains one run folder from its last checkpoint to its last iteration.

    Make one with `start` or `resume`. Iterations count from 1; everything random in iteration i
    comes from streams named by (seed, i, task), so a resumed run draws what an uninterrupted one
    would have drawn.
    """

    def __init__(self, experiment: Experiment, run: RunFolder, console: Console | None = None):
        self.experiment = experiment
        self.config = experiment.config
        self.run = run
        self.checkpoints = Checkpoints(run.checkpoints)
        self.console = console or Console()
        self._environment_steps = 0

    @classmethod
    def start(cls, config: Config, console: Console | None = None) -> "Trainer":
        """A new run in `config.run.output`, or in a folder of its own under `runs/`."""
        experiment = Experiment.from_config(config)
        output = config.run.output or claim_default_folder(
            DEFAULT_ROOT, config.tasks.family, config.algorithm.name, config.run.seed
        )
        versions = {**collect_versions(), **experiment.describe_tasks()}
        run = RunFolder.create(output, to_yaml(_without_output(config)), versions)
        trainer = cls(experiment, run, console)
        run.checkpoints.mkdir(exist_ok=True)
        trainer._begin()
        return trainer

    @classmethod
    def resume(
        cls,
        path: str | Path,
        overrides: Mapping[str, object] | None = None,
        console: Console | None = None,
    ) -> "Trainer":
        """The run in a folder, with its own configuration, but for what changes no number."""
        run = RunFolder.open(path)
        refused = [key for key in overrides or {} if key not in _MAY_CHANGE]
        if refused:
            raise UserError(
                f"command line: {refused[0]} cannot change when a run is resumed; "
                f"only {', '.join(_MAY_CHANGE)} can"
            )
        experiment = Experiment.from_config(load_config(run.config_file, overrides))
        trainer = cls(experiment, run, console)
        now = {**collect_versions(), **experiment.describe_tasks()}
        for difference in check_versions(run.read_versions(), now):
            trainer.console.print(f"warning: {difference}; numbers may differ", style="yellow")
        return trainer

    def train(self) -> StopRequest:
        """Run to the last iteration, or until Ctrl-C or SIGTERM; true when stopped early.

        Raises UserError when another process is training in the folder, when fewer iterations are
        wanted than are done, and when the disk refuses.
        """
        with self.run.lock(), StopRequest(self._announce_stop) as stop:
            finished = self._restore()
            if self._is_finished(finished):
                return stop
            write_text_atomically(
                self.run.config_file, to_yaml(_without_output(self.config)), self.run.path
            )
            tasks = self.config.tasks
            sampler = self.experiment.sampler(tasks.tasks_per_iteration, tasks.episodes_per_task)
            title = f"{tasks.family} · {self.config.algorithm.name} · seed {self.config.run.seed}"
            first, last = finished + 1, self.config.run.iterations
            self._say(f"training in {self.run.path}, iterations {first} to {last}")
            with (
                MetricsLog(self.run.path, first) as log,
                Progress(last, first, self.console, title) as progress,
            ):
                for iteration in range(first, last + 1):
                    metrics = self._iterate(sampler, iteration)
                    log.write(iteration, metrics)
                    progress.update(iteration, metrics)
                    finished = iteration == last or self._budget_is_spent()
                    if self._is_due(iteration) or finished or stop:
                        log.flush()
                        self._save(iteration)
                    if finished or stop:
                        break
            return stop

    def _is_finished(self, done: int) -> bool:
        wanted = self.config.run.iterations
        if done > wanted:
            raise UserError(
                f"run.iterations is {wanted}, but {self.run.path} has {done} behind it; "
                "give a larger number to train longer"
            )
        if done > 0 and self._budget_is_spent():
            self._say(
                f"all {self.config.run.environment_steps} environment steps are taken; train "
                f"longer with `metarl train --resume {self.run.path} --run.environment_steps N`"
            )
            return True
        if done == wanted:
            self._say(
                f"all {done} iterations are done; train longer with "
                f"`metarl train --resume {self.run.path} --run.iterations {2 * done}`"
            )
        return done == wanted

    def _budget_is_spent(self) -> bool:
        budget = self.config.run.environment_steps
        return budget is not None and self._environment_steps >= budget

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _announce_stop(self) -> None:
        line = "stopping after this iteration; Ctrl-C (or SIGTERM) once more stops at once"
        if self.console.is_terminal:  # above the live table
            self._say(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _iterate(self, sampler: Sampler, iteration: int) -> Metrics:
        started = time.perf_counter()
        self.experiment.begin(sampler, iteration)
        try:
            metrics = self.experiment.learner.meta_update(sampler)
        except (FloatingPointError, UserError) as error:
            raise UserError(
                f"iteration {iteration}: {error}; the last checkpoint is in {self.run.checkpoints}"
            ) from error
        seconds = time.perf_counter() - started
        self._environment_steps += sampler.environment_steps
        return {
            **metrics,
            **self._validate(iteration),
            "train/environment_steps": float(self._environment_steps),
            "time/iteration_s": seconds,
            "time/env_steps_per_s": sampler.environment_steps / seconds,
        }

    def _validate(self, iteration: int) -> Metrics:
        """Mean return on validation tasks after each adaptation step; nan when none is due."""
        every = self.config.run.evaluate_every
        if not every:
            return {}
        settings = dataclasses.replace(self.config.evaluation, split="validation")
        names = [f"validation/return_{step}" for step in range(settings.steps + 1)]
        if iteration % every:
            return dict.fromkeys(names, float("nan"))
        curve = evaluate(self.experiment.learner, self._evaluation_sampler(settings), settings)
        return dict(zip(names, map(float, curve.mean), strict=True))

    def _evaluation_sampler(self, settings: EvaluationConfig) -> Sampler:
        return self.experiment.sampler(settings.tasks, settings.episodes)

    def _is_due(self, iteration: int) -> bool:
        return iteration % self.config.run.checkpoint_every == 0

    def _save(self, iteration: int) -> None:
        state = {
            **self.experiment.state_dict(),
            "environment_steps": self._environment_steps,
        }
        self.checkpoints.save(iteration, state)

    def _begin(self) -> None:
        self._environment_steps = self.experiment.measure_observations()
        self._save(0)

    def _restore(self) -> int:
        if not self.checkpoints.iterations() and not self.run.metrics_file.exists():
            # Killed before its first checkpoint: everything is as the seed makes it.
            self._begin()
            return 0
        iteration, state = restore(self.experiment, self.run)
        self._environment_steps = int(state["environment_steps"])
        return iteration


def _without_output(config: Config) -> Config:
    # A run folder may move, and its configuration may start another run.
    return dataclasses.replace(config, run=dataclasses.replace(config.run, output=None))
