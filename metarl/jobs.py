"""A job: one preset with one seed in a folder of its own, to be done as far as it is not yet."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from metarl.config import flatten, kind_of_text, load_config
from metarl.errors import UserError
from metarl.suites import SuiteSupport, is_for_suites, support_of
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder
from metarl.training.trainer import Trainer

SUITES = "benchmark"
"""The folder of `configs` that holds suites of presets, and no presets."""

# They change where and how long a run computes, not its numbers.
_FREE = ("run.output", "run.iterations", "run.environment_steps", "run.device", "run.threads")
_RESUMED = ("iterations", "environment_steps", "threads")


def all_presets(configs: Path) -> dict[str, Path]:
    """Every preset of a job below the folders of `configs`, by `FOLDER/NAME`: of meta-RL and
    few-shot learning."""
    paths = sorted(configs.glob("*/**/*.yaml"))
    names = {path.relative_to(configs).with_suffix("").as_posix(): path for path in paths}
    return {
        name: path
        for name, path in names.items()
        if not name.startswith(f"{SUITES}/") and _is_of_a_job(path)
    }


def _is_of_a_job(preset: Path) -> bool:
    text = preset.read_text(encoding="utf-8", errors="replace")
    return is_for_suites(kind_of_text(text))


@dataclass(frozen=True)
class Job:
    """A configuration and the folder that it is trained in; `config.run.output` is not read."""

    preset: str
    config: Any
    """A `Config` or `FewShotConfig`."""
    run: RunFolder

    @property
    def exists(self) -> bool:
        """Whether the run was ever started."""
        return self.run.config_file.is_file()

    @property
    def iterations(self) -> int:
        """Iterations behind the last checkpoint; 0 for a run that was not started."""
        return max(Checkpoints(self.run.checkpoints).iterations(), default=0)

    def check_settings(self) -> None:
        """UserError for a run that was started with other settings, or trained for longer."""
        if not self.exists:
            return
        wanted, there = (
            flatten(dataclasses.asdict(config))
            for config in (self.config, load_config(self.run.config_file))
        )
        for key in [*wanted, *(key for key in there if key not in wanted)]:
            if key not in _FREE and wanted.get(key) != there.get(key):
                raise UserError(
                    f"{self.run.path} was started with {key} = {there.get(key)}, now it is "
                    f"{wanted.get(key)}; choose another --output"
                )
        self._refuse_a_longer_run()

    def _refuse_a_longer_run(self) -> None:
        run, done = self.config.run, self.iterations
        steps = environment_steps(self.run)
        if done > run.iterations:
            raise self._longer("run.iterations", done, run.iterations)
        # The budget was reached before the last iteration: another budget was set then.
        if self.budget is not None and steps.get(done - 1, 0) >= self.budget:
            raise self._longer("run.environment_steps", steps[done - 1], self.budget)

    def _longer(self, key: str, done: int, wanted: int) -> UserError:
        return UserError(
            f"{key} is {wanted}, but {self.run.path} has more behind it ({done}); "
            "give a larger number or choose another --output"
        )

    def is_trained(self) -> bool:
        """Whether the last iteration, or the budget of environment steps, is reached."""
        run, done = self.config.run, self.iterations
        if done == 0 or done >= run.iterations:
            return done > 0
        budget = self.budget
        return budget is not None and environment_steps(self.run).get(done, 0) >= budget

    def train(self, console: Console) -> int | None:
        """Train as far as that is not done; the number of the signal that stopped it, if any.

        Raises UserError for a run of other settings, and for what `Trainer` refuses.
        """
        self.check_settings()
        if self.is_trained():
            return None
        return self._trainer(console).train().signal_number

    def _trainer(self, console: Console) -> Trainer:
        run = self.config.run
        if not self.exists:
            here = dataclasses.replace(run, output=str(self.run.path))
            return Trainer.start(dataclasses.replace(self.config, run=here), console)
        overrides = {f"run.{key}": getattr(run, key) for key in _RESUMED if hasattr(run, key)}
        return Trainer.resume(self.run.path, overrides, console)

    def evaluate(self) -> Any:
        """The adaptation curve, or few-shot result, of the last checkpoint: the one in the folder,
        or a new one."""
        return self.evaluation() or self._suite.evaluate(self.run.path)

    def evaluation(self) -> Any | None:
        """What `evaluate` gives, if it is in the folder, of the last checkpoint and of these
        settings."""
        return self._suite.find_evaluation(self.run, self.config, self.iterations)

    def table(self, evaluation: Any) -> Table:
        """An evaluation for a terminal."""
        return self._suite.table(evaluation)

    @property
    def budget(self) -> int | None:
        """Environment steps after which training ends; None without such a limit."""
        return getattr(self.config.run, "environment_steps", None)

    @property
    def _suite(self) -> SuiteSupport:
        return support_of(self.config)


def environment_steps(run: RunFolder) -> dict[int, int]:
    """Environment steps taken by the end of each iteration, from `metrics.csv`; rows cut by a kill
    are left out."""
    try:
        with run.metrics_file.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    steps = {}
    for row in rows:
        try:
            steps[int(row["iteration"])] = int(float(row["train/environment_steps"]))
        except (KeyError, TypeError, ValueError):
            continue
    return steps
