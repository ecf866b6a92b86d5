"""Runs that are to be compared, as their folders describe them."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metarl.config import Config, flatten, kind_of_file, load_config
from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder

# What makes a learner another one, seed, length of training and place of computation aside.
_IDENTITY = (
    "algorithm.",
    "policy.",
    "tasks.training_tasks",
    "tasks.tasks_per_iteration",
    "tasks.episodes_per_task",
)
_RATES = "evaluation.inner_learning_rates"


@dataclass(frozen=True)
class EvaluatedRun:
    """One trained run and its adaptation curve on the tasks of a split."""

    path: Path
    config: Config
    versions: Mapping[str, Any]
    """When the run started; `curve.details["versions"]` are those of the evaluation."""
    curve: AdaptationCurve

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.config.run.seed

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return self.config.algorithm.name

    @property
    def family(self) -> str:
        """The family's name without its version, and its options: one problem to solve."""
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        name = _split_version(self.config.tasks.family)[0]
        return f"{name} ({options})" if options else name

    @property
    def options(self) -> Mapping[str, Any]:
        """What the family was made with."""
        return dict(sorted(self.config.tasks.options.items()))

    @property
    def training_steps(self) -> int:
        """Environment steps of the training until the evaluated checkpoint."""
        return int(self.curve.details["training_environment_steps"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that make a learner, by dotted key."""
        flat = flatten(dataclasses.asdict(self.config))
        found = {key: value for key, value in flat.items() if key.startswith(_IDENTITY)}
        return found | {_RATES: self.curve.details.get("inner_learning_rates")}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must agree before returns of two runs may be compared."""
        details = self.curve.details
        trained = self.versions.get("mujoco", "unknown")
        evaluated = details.get("versions", {}).get("mujoco", trained)
        both = trained if trained == evaluated else f"{trained}, evaluated with {evaluated}"
        return {
            "family version": _split_version(self.config.tasks.family)[1],
            "horizon": details["horizon"],
            "task list": details["split_hash"],
            "evaluation tasks": len(self.curve.returns),
            "episodes per task": details["episodes"],
            "MuJoCo version": both,
        }


def find_runs(folders: Iterable[str | Path]) -> list[Path]:
    """The run folders among and below these folders, each once, in the order of their names.

    Raises UserError for a folder that is missing or has no run below it.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; give run folders, or folders that contain them")
        runs = list(_runs_below(folder))
        if not runs:
            raise UserError(f"no run in {folder}, and none below it; `metarl train` makes one")
        found |= {run.resolve(): run for run in runs if run.resolve() not in found}
    return list(found.values())


def kind_of_runs(paths: Sequence[Path]) -> Any:
    """The configuration class of these run folders; UserError where they are of several kinds."""
    kinds = {path: kind_of_file(path / "config.yaml") for path in paths}
    # Meta-RL is what the others are told apart from.
    one = next((path for path in paths if kinds[path] is not Config), paths[0])
    for other, kind in kinds.items():
        if kind is not kinds[one]:
            raise UserError(
                f"{one} is a {kinds[one].title} run and {other} is a {kind.title} run; "
                "compare them apart"
            )
    return kinds[one]


def load_runs(
    paths: Iterable[Path], split: str, evaluate: Callable[[Path], object] | None = None
) -> list[EvaluatedRun]:
    """The runs with their curves on `split`.

    `evaluate` makes the evaluation of a run that has none, or one that is older than its last
    checkpoint; without it such runs are refused by UserError.
    """
    paths = list(paths)
    stale = [path for path in paths if not _is_evaluated(path, split)]
    if stale and evaluate is None:
        more = f" ({len(stale)} such runs of {len(paths)})" if len(stale) > 1 else ""
        raise UserError(
            f"{stale[0]} has no {split} evaluation of its last checkpoint{more}; "
            f"run `metarl evaluate {stale[0]} --split {split}`, or add --evaluate"
        )
    for path in stale:
        if evaluate:
            evaluate(path)
    return [_load(path, split) for path in paths]


def _runs_below(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders.sort()
        if "config.yaml" in files:
            folders.clear()  # nothing inside a run is another run
            yield Path(path)


def _is_evaluated(path: Path, split: str) -> bool:
    run = RunFolder.open(path)
    file = run.evaluation / f"{split}.json"
    if not file.exists():
        return False
    last = max(Checkpoints(run.checkpoints).iterations(), default=0)
    return AdaptationCurve.load(file).details.get("iteration", 0) >= last


def _load(path: Path, split: str) -> EvaluatedRun:
    run = RunFolder.open(path)
    file = run.evaluation / f"{split}.json"
    curve = AdaptationCurve.load(file)
    needed = ("training_environment_steps", "horizon", "split_hash", "episodes")
    missing = [name for name in needed if name not in curve.details]
    if missing:
        raise UserError(
            f"{file} lacks {', '.join(missing)}; run `metarl evaluate {path} --split {split}` again"
        )
    config = load_config(run.config_file)
    if not isinstance(config, Config):
        raise UserError(f"{path} is no meta-RL run: {run.config_file} has no section `tasks`")
    return EvaluatedRun(path, config, run.read_versions(), curve)


def _split_version(family: str) -> tuple[str, str]:
    """`HalfCheetahVel-v0` as `("HalfCheetahVel", "v0")`."""
    match = re.fullmatch(r"(.+)-(v\d+)", family)
    return (match[1], match[2]) if match else (family, "none")
