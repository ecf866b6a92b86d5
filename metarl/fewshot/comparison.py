"""Few-shot runs that are to be compared: methods side by side on the same data and sizes."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from metarl.config import load_config, read_yaml
from metarl.continual.config import is_continual
from metarl.errors import UserError
from metarl.evaluation.comparison_statistics import Estimate, estimate
from metarl.fewshot.config import FewShotConfig
from metarl.fewshot.published import Published, find_published
from metarl.fewshot.results import ENOUGH_EPISODES, FewShotResult
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder

# What makes a method another one, seed, length of training and place of computation aside.
_IDENTITY = (
    "algorithm.",
    "model.",
    "episodes.per_batch",
    "episodes.training_",
    "data.train_on_validation",
)
_COLUMNS = (1, 5, 10)
"""Adaptation steps in tables of errors: the MAML paper's."""


@dataclass(frozen=True, eq=False)
class FewShotRun:
    """One run: its settings, and its result on the episodes of a split."""

    path: Path
    config: FewShotConfig
    result: FewShotResult

    @property
    def place(self) -> tuple[Any, ...]:
        """What must be the same before two runs may stand in one table."""
        details = self.result.details
        return self.result.kind, details["data"], details["ways"], details["shots"]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that make a method, by dotted key."""
        flat = dict(_flatten("", dataclasses.asdict(self.config)))
        return {key: value for key, value in flat.items() if key.startswith(_IDENTITY)}

    @property
    def protocol(self) -> dict[str, Any]:
        """What should be the same in all runs of a table."""
        details, split = self.result.details, self.config.evaluation.split
        return {
            "protocol of the data": details.get("protocol"),
            "split": details.get("data_split"),
            "test classes": details.get("splits", {}).get(split),
            "queries": details["queries"],
            "episodes": self.result.episodes,
            "seed of the episodes": details.get("evaluation", {}).get("seed"),
        }


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The runs of one method, one for each seed, on the same E episodes."""

    label: str
    runs: tuple[FewShotRun, ...]

    @property
    def name(self) -> str:
        """The name of the method."""
        return self.runs[0].config.algorithm.name

    @property
    def first(self) -> FewShotResult:
        """The result of the first run, for what all have in common."""
        return self.runs[0].result

    @cached_property
    def scores(self) -> np.ndarray:
        """Score of each run in each episode, `[seeds, E, S + 1]`."""
        return np.stack([run.result.scores for run in self.runs])

    def score(self, step: int = -1) -> Estimate:
        """Mean score after a step, with its bootstrap interval over whole seeds and episodes."""
        return estimate(self.scores[:, :, step], np.mean)

    @cached_property
    def last(self) -> Estimate:
        """`score` after the last step."""
        return self.score()

    @property
    def nll(self) -> Estimate | None:
        """Negative log-likelihood of a query after the last step; None where there is none."""
        if not all(run.result.has_likelihood for run in self.runs):
            return None
        found = np.stack([-run.result.log_likelihood[:, -1] for run in self.runs])
        return estimate(found, np.mean)

    @property
    def calibration_error(self) -> float | None:
        """Mean over runs; None where the method does not say how sure it is."""
        found = [run.result.calibration for run in self.runs]
        known = [each.error for each in found if each is not None]
        return float(np.mean(known)) if len(known) == len(found) else None

    @property
    def normalization(self) -> str | None:
        """BatchNorm's mode; None where there is no BatchNorm."""
        return self.first.details.get("normalization")

    @property
    def iterations(self) -> tuple[int, ...]:
        """Of the training of each run."""
        return tuple(int(run.result.details.get("iteration", 0)) for run in self.runs)

    @property
    def published(self) -> list[Published]:
        """What was published of this method."""
        details = self.first.details
        return find_published(
            details["data"],
            details["ways"],
            details["shots"],
            self.name,
            details.get("settings", {}),
            self.normalization,
        )


@dataclass(frozen=True, eq=False)
class FewShotComparison:
    """All methods on one data set with episodes of one size."""

    slug: str
    """Data and size as part of a file name."""
    methods: tuple[MethodResult, ...]
    """The best first."""

    @property
    def first(self) -> FewShotResult:
        """Any result, for what all have in common."""
        return self.methods[0].first

    @property
    def runs(self) -> tuple[FewShotRun, ...]:
        """Of all methods."""
        return tuple(run for method in self.methods for run in method.runs)

    @property
    def title(self) -> str:
        """`omniglot, 5-way 1-shot`."""
        return f"{self.first.details['data']}, {self.first.details['size']}"

    @property
    def columns(self) -> list[int]:
        """Adaptation steps that tables show; -1 is the last one."""
        most = max(len(method.first.steps) for method in self.methods) - 1
        steps = [step for step in _COLUMNS if step <= most]
        return steps if self.first.kind == "regression" and steps else [-1]

    @property
    def warnings(self) -> list[str]:
        """In what the runs differ that makes their numbers those of different problems."""
        return [
            f"these runs differ in {name}: "
            + "; ".join(f"{value} in {', '.join(paths)}" for value, paths in values.items())
            for name, values in _mixed(self.runs).items()
        ]

    @property
    def remarks(self) -> list[str]:
        """What qualifies the numbers without putting them in doubt."""
        found = []
        modes = {method.normalization for method in self.methods}
        if len(modes) > 1:
            found.append(
                "BatchNorm modes differ: transductive methods see all queries of an episode at once"
            )
        elif modes == {"transductive"}:
            found.append("transductive: BatchNorm sees all queries of an episode at once")
        fewest = min(run.result.episodes for run in self.runs)
        if fewest < ENOUGH_EPISODES:
            found.append(f"{fewest} episodes: published tables take at least {ENOUGH_EPISODES}")
        if any(len(method.runs) == 1 for method in self.methods):
            found.append("one seed: the interval is over episodes, of this one training")
        if any(run.config.data.train_on_validation for run in self.runs):
            found.append("some methods were trained on the validation classes too")
        if any(method.published for method in self.methods):
            found.append("published figures are on their authors' own splits")
        return found


def are_few_shot(paths: Sequence[Path]) -> bool:
    """Whether these run folders are few-shot runs; UserError where some are and some are not."""
    found = [path for path in paths if _has_data(path)]
    if 0 < len(found) < len(paths):
        other = next(path for path in paths if path not in found)
        kind = "continual" if is_continual(other) else "meta-RL"
        raise UserError(
            f"{found[0]} is a few-shot run and {other} is a {kind} run; compare them apart"
        )
    return bool(found)


def load_few_shot_runs(
    paths: Iterable[Path], split: str, evaluate: Callable[[Path], object] | None = None
) -> list[FewShotRun]:
    """The runs with their results on `split`.

    `evaluate` makes the result of a run that has none, or one that is older than its last
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


def compare_few_shot(runs: Sequence[FewShotRun]) -> tuple[FewShotComparison, ...]:
    """Runs grouped by data and size of episodes, and there by method; sizes ascending."""
    groups: dict[tuple[Any, ...], list[FewShotRun]] = {}
    for run in runs:
        groups.setdefault(run.place, []).append(run)
    found = []
    for place, own in sorted(groups.items()):
        kind, data, ways, shots = place
        size = f"{ways}way_{shots}shot" if kind == "classification" else f"{shots}points"
        slug = re.sub(r"[^\w.-]+", "_", f"{data}_{size}")
        methods = _methods(own)
        sign = -1 if kind == "classification" else 1
        methods.sort(key=lambda each: sign * float(each.scores[..., -1].mean()))
        found.append(FewShotComparison(slug, tuple(methods)))
    return tuple(found)


def result_file(run: RunFolder, split: str) -> Path:
    """Where a run has its result on a split."""
    return run.evaluation / f"fewshot-{split}.json"


def _methods(runs: Sequence[FewShotRun]) -> list[MethodResult]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[FewShotRun]] = {}
    for run in runs:
        key = json.dumps([run.settings, run.result.scores.shape, run.protocol], default=str)
        groups.setdefault(key, []).append(run)
    own = list(groups.values())
    labels = [_label(each[0], [other[0] for other in own]) for each in own]
    return [
        MethodResult(label if labels.count(label) == 1 else f"{label} #{index + 1}", tuple(each))
        for index, (label, each) in enumerate(zip(labels, own, strict=True))
    ]


def _label(run: FewShotRun, others: Sequence[FewShotRun]) -> str:
    """The name of the method, with the settings that tell it from others of this name."""
    alike = [each.settings for each in others if each.settings["algorithm.name"] == _name(run)]
    different = [
        f"{key.partition('.')[2]}={value}"
        for key, value in run.settings.items()
        if any(each.get(key) != value for each in alike)
    ]
    return f"{_name(run)} ({', '.join(different[:3])})" if different else _name(run)


def _name(run: FewShotRun) -> str:
    return run.config.algorithm.name


def _mixed(runs: Sequence[FewShotRun]) -> dict[str, dict[str, list[str]]]:
    """Parts of the protocol in which runs differ: the runs that have each value."""
    values: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in run.protocol.items():
            values.setdefault(name, {}).setdefault(str(value), []).append(str(run.path))
    return {name: found for name, found in values.items() if len(found) > 1}


def _has_data(path: Path) -> bool:
    mapping = read_yaml(path / "config.yaml")
    return isinstance(mapping, dict) and "data" in mapping


def _is_evaluated(path: Path, split: str) -> bool:
    run = RunFolder.open(path)
    file = result_file(run, split)
    if not file.exists():
        return False
    last = max(Checkpoints(run.checkpoints).iterations(), default=0)
    return FewShotResult.load(file).details.get("iteration", 0) >= last


def _load(path: Path, split: str) -> FewShotRun:
    run = RunFolder.open(path)
    file = result_file(run, split)
    result = FewShotResult.load(file)
    missing = [
        key for key in ("data", "ways", "shots", "size", "queries") if key not in result.details
    ]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}; run `metarl evaluate {path}` again")
    return FewShotRun(path, load_config(run.config_file), result)


def _flatten(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
