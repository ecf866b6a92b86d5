"""A job: one preset with one seed in a folder of its own, to be done as far as it is not yet."""

import csv
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from metarl.config import KINDS, Config, load_config
from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.run import evaluate_run
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder
from metarl.training.trainer import Trainer

SUITES = "benchmark"
"""The folder of `configs` that holds suites of presets, and no presets."""

# They change where and how long a run computes, not its numbers.
_FREE = ("run.output", "run.iterations", "run.environment_steps", "run.device", "run.threads")
_RESUMED = ("iterations", "environment_steps", "threads")


def all_presets(configs: Path) -> dict[str, Path]:
    """Every meta-RL preset below the folders of `configs`, by `FOLDER/NAME`."""
    paths = sorted(configs.glob("*/**/*.yaml"))
    names = {path.relative_to(configs).with_suffix("").as_posix(): path for path in paths}
    return {
        name: path
        for name, path in names.items()
        if not name.startswith(f"{SUITES}/") and not _is_of_another_kind(path)
    }


def _is_of_another_kind(preset: Path) -> bool:
    # By its text: a file that is not readable as YAML is told when it is chosen.
    lines = preset.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.startswith(tuple(f"{section}:" for section in KINDS)) for line in lines)


@dataclass(frozen=True)
class Job:
    """A configuration and the folder that it is trained in; `config.run.output` is not read."""

    preset: str
    config: Config
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
        wanted, there = (_flat(c) for c in (self.config, load_config(self.run.config_file)))
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
        if run.environment_steps is not None and steps.get(done - 1, 0) >= run.environment_steps:
            raise self._longer("run.environment_steps", steps[done - 1], run.environment_steps)

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
        budget = run.environment_steps
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
        overrides = {f"run.{key}": getattr(run, key) for key in _RESUMED}
        return Trainer.resume(self.run.path, overrides, console)

    def evaluate(self) -> AdaptationCurve:
        """The curve of the last checkpoint: the one in the folder, or a new one."""
        return self.evaluation() or evaluate_run(self.run.path)[0]

    def evaluation(self) -> AdaptationCurve | None:
        """The curve in the folder, if it is of the last checkpoint and of these settings."""
        settings = self.config.evaluation
        path = self.run.evaluation / f"{settings.split}.json"
        try:
            curve = AdaptationCurve.load(path)
        except UserError:  # not there, or damaged
            return None
        if not path.with_suffix(".png").exists():  # written last
            return None
        rates = curve.details.get("inner_learning_rates")
        found = (
            curve.returns.shape[:2],
            curve.details.get("iteration"),
            curve.details.get("episodes"),
            curve.details.get("evaluation_seed"),
            None if rates is None else tuple(rates),
        )
        wanted = (
            (settings.tasks, settings.steps + 1),
            self.iterations,
            settings.episodes,
            settings.seed,
            settings.inner_learning_rates,
        )
        return curve if found == wanted else None


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


def _flat(config: Config) -> dict[str, Any]:
    def walk(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from walk(f"{prefix}{key}.", value)
            else:
                yield f"{prefix}{key}", value

    return dict(walk("", dataclasses.asdict(config)))
