"""The training loop of every kind of experiment: iterate, log, checkpoint; resumable any time."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from metarl.algorithms import Metrics
from metarl.config import load_config, to_yaml
from metarl.errors import UserError
from metarl.files import write_text_atomically
from metarl.training.checkpoints import Checkpoints
from metarl.training.interrupts import StopRequest
from metarl.training.metrics import MetricsLog
from metarl.training.progress import Progress
from metarl.training.restore import make_experiment, restore
from metarl.training.run_folder import (
    RunFolder,
    check_versions,
    claim_default_folder,
    collect_versions,
)
from metarl.training.trainable import Trainable

DEFAULT_ROOT = "runs"


class Trainer:
    """Trains one run folder from its last checkpoint to its last iteration.

    Make one with `start` or `resume`.
    """

    def __init__(self, experiment: Trainable, run: RunFolder, console: Console | None = None):
        self.experiment = experiment
        self.config = experiment.config
        self.run = run
        self.checkpoints = Checkpoints(run.checkpoints)
        self.console = console or Console()

    @classmethod
    def start(cls, config: Any, console: Console | None = None) -> "Trainer":
        """A new run in `config.run.output`, or in a folder of its own under `runs/`."""
        experiment = make_experiment(config)
        output = config.run.output or claim_default_folder(
            DEFAULT_ROOT, *experiment.place, config.run.seed
        )
        versions = {**collect_versions(), **experiment.describe()}
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
        config = load_config(run.config_file, overrides)
        refused = [key for key in overrides or {} if key not in config.may_change]
        if refused:
            raise UserError(
                f"command line: {refused[0]} cannot change when a run is resumed; "
                f"only {', '.join(config.may_change)} can"
            )
        experiment = make_experiment(config)
        trainer = cls(experiment, run, console)
        recorded, now = run.read_versions(), {**collect_versions(), **experiment.describe()}
        experiment.refuse_other_data(recorded, now)
        for difference in check_versions(recorded, now):
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
            title = " · ".join((*self.experiment.place, f"seed {self.config.run.seed}"))
            first, last = finished + 1, self.experiment.iterations
            self._say(f"training in {self.run.path}, iterations {first} to {last}")
            with (
                MetricsLog(self.run.path, first) as log,
                Progress(last, first, self.console, title) as progress,
            ):
                for iteration in range(first, last + 1):
                    metrics = self._iterate(iteration)
                    log.write(iteration, metrics)
                    progress.update(iteration, metrics)
                    finished = iteration == last or self.experiment.is_budget_spent()
                    if self._is_due(iteration) or finished or stop:
                        log.flush()
                        self._save(iteration)
                    if finished or stop:
                        break
            return stop

    def _is_finished(self, done: int) -> bool:
        wanted = self.experiment.iterations
        if done > wanted:
            raise UserError(
                f"run.iterations is {wanted}, but {self.run.path} has {done} behind it; "
                "give a larger number to train longer"
            )
        if done > 0 and self.experiment.is_budget_spent():
            self._say(
                f"all {self.config.run.environment_steps} environment steps are taken; train "
                f"longer with `metarl train --resume {self.run.path} --run.environment_steps N`"
            )
            return True
        if done == wanted:
            longer = ""
            if "run.iterations" in self.config.may_change:
                more = f"`metarl train --resume {self.run.path} --run.iterations {2 * done}`"
                longer = f"; train longer with {more}"
            self._say(f"all {done} iterations are done{longer}")
        return done == wanted

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _announce_stop(self) -> None:
        line = "stopping after this iteration; Ctrl-C (or SIGTERM) once more stops at once"
        if self.console.is_terminal:  # above the live table
            self._say(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _iterate(self, iteration: int) -> Metrics:
        try:
            return self.experiment.iterate(iteration)
        except (FloatingPointError, UserError) as error:
            raise UserError(
                f"iteration {iteration}: {error}; the last checkpoint is in {self.run.checkpoints}"
            ) from error

    def _is_due(self, iteration: int) -> bool:
        return iteration % self.config.run.checkpoint_every == 0

    def _save(self, iteration: int) -> None:
        self.checkpoints.save(iteration, self.experiment.state_dict())

    def _begin(self) -> None:
        self.experiment.start()
        self._save(0)

    def _restore(self) -> int:
        if not self.checkpoints.iterations() and not self.run.metrics_file.exists():
            # Killed before its first checkpoint: everything is as the seed makes it.
            self._begin()
            return 0
        return restore(self.experiment, self.run)[0]


def _without_output(config: Any) -> Any:
    # A run folder may move, and its configuration may start another run.
    return dataclasses.replace(config, run=dataclasses.replace(config.run, output=None))
