"""Few-shot runs that are to be compared: methods side by side on the same data and sizes."""

import dataclasses
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from metarl.config import flatten, load_config
from metarl.errors import UserError
from metarl.evaluation.comparison_statistics import Estimate, estimate
from metarl.fewshot.config import SIZES, FewShotConfig
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
    "data.options.",
)
_FEW_SEEDS = 5
_COLUMNS = (1, 5, 10)
"""Adaptation steps in tables of errors: the MAML paper's."""


@dataclass(frozen=True, eq=False)
class FewShotRun:
    """One run: its settings, and its result on the episodes of a split, of one size.

    A run that was evaluated on episodes of several sizes is here once for each of them.
    """

    path: Path
    config: FewShotConfig
    """Of the training; what was tested is in the result's details."""
    result: FewShotResult

    @property
    def place(self) -> tuple[Any, ...]:
        """What must be the same before two runs may stand in one table."""
        details = self.result.details
        sizes = (details[name] for name in SIZES)
        return self.result.kind, details["data"], *sizes

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that make a method, by dotted key."""
        flat = flatten(dataclasses.asdict(self.config))
        found = {key: value for key, value in flat.items() if key.startswith(_IDENTITY)}
        # Evaluation may have taken another mode of BatchNorm than training.
        found["model.normalization"] = self.result.details.get("normalization")
        tested = self.result.details.get("evaluation", {})
        found["evaluation.checkpoint"] = tested.get("checkpoint", "last")
        # null is the size at test, and that is in no other key.
        for name in SIZES:
            if self.result.kind == "classification" or name != "ways":
                key = f"episodes.training_{name}"
                found[key] = flat[key] or flat[f"episodes.{name}"]
        return found

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same in all runs of a table."""
        details = self.result.details
        return {
            "episodes": self.result.episodes,
            "the seed of the episodes": details.get("evaluation", {}).get("seed"),
            "the examples or the drawing of the test episodes": details.get("test_episodes"),
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

    @cached_property
    def by_step(self) -> tuple[Estimate, ...]:
        """Mean score after each step, with its bootstrap interval over whole seeds and episodes."""
        return tuple(estimate(column, np.mean) for column in np.moveaxis(self.scores, -1, 0))

    @property
    def last(self) -> Estimate:
        """Mean score after the last step."""
        return self.by_step[-1]

    @cached_property
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
            details.get("model", {}).get("name"),
        )

    @property
    def best_iterations(self) -> tuple[int, ...]:
        """Of the parameters that validated best, of each run; empty where they are the last."""
        found = (run.result.details.get("best_iteration") for run in self.runs)
        return tuple(int(each) for each in found if each is not None)

    @property
    def missing_stages(self) -> list[str]:
        """Which stages of the method have not begun in its runs."""
        found = (run.result.details.get("missing_stage") for run in self.runs)
        return list(dict.fromkeys(each for each in found if each))

    @property
    def unfinished(self) -> bool:
        """Whether a training stopped before its last iteration."""
        pairs = zip(self.iterations, self.runs, strict=True)
        return any(done < run.config.run.iterations for done, run in pairs)


@dataclass(frozen=True, eq=False)
class FewShotComparison:
    """All methods on one data set with episodes of one size."""

    slug: str
    """Data and size as part of a file name."""
    methods: tuple[MethodResult, ...]
    """The best first."""
    suffix: str = ""
    """What the title says more, where data and size are those of another section too."""

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
        return f"{self.first.details['data']}, {self.first.details['size']}{self.suffix}"

    @property
    def columns(self) -> list[int]:
        """Adaptation steps that tables show; -1 is the last one."""
        last = {len(method.first.steps) - 1 for method in self.methods} - {0}
        if self.first.kind == "classification" or not last:
            return [-1]
        return sorted(last | {step for step in _COLUMNS if step <= max(last)})

    @property
    def warnings(self) -> list[str]:
        """In what the runs differ that makes their numbers those of different problems."""
        return [
            f"runs differ in {name}: "
            + "; ".join(f"{value} in {', '.join(paths)}" for value, paths in values.items())
            for name, values in _mixed(self.runs).items()
        ]

    @property
    def remarks(self) -> list[str]:
        """What qualifies the numbers without putting them in doubt."""
        found = []
        modes = {method.normalization for method in self.methods}
        if modes == {"transductive"}:
            found.append("transductive: BatchNorm sees all queries of an episode at once")
        elif "transductive" in modes:
            found.append(
                "BatchNorm modes differ: transductive methods see all queries of an episode at once"
            )
        unfinished = [method.label for method in self.methods if method.unfinished]
        if unfinished:
            found.append(f"trained for fewer iterations than planned: {', '.join(unfinished)}")
        for method in self.methods:
            found += [f"{method.label} is not yet whole: {each}" for each in method.missing_stages]
        best = {method.label: method.best_iterations for method in self.methods}
        if any(best.values()):
            told = ", ".join(
                f"{label} (iteration {', '.join(f'{each:,}' for each in iterations)})"
                for label, iterations in best.items()
                if iterations
            )
            found.append(f"the parameters are those that validated best: {told}")
        shots = self.first.details["shots"]
        others = {
            method.label: trained
            for method in self.methods
            if (trained := method.first.details.get("training_shots", shots)) != shots
        }
        if others:
            told = ", ".join(f"{label} ({trained})" for label, trained in others.items())
            unit = "shots" if self.first.kind == "classification" else "points"
            found.append(f"trained with another number of {unit} than tested: {told}")
        fewest = min(run.result.episodes for run in self.runs)
        if fewest < ENOUGH_EPISODES:
            found.append(f"{fewest} episodes: published tables take at least {ENOUGH_EPISODES}")
        found += self._seed_remarks()
        if any(run.config.data.train_on_validation for run in self.runs):
            found.append("some methods were trained on the validation classes too")
        if any(method.published for method in self.methods):
            found.append("published figures are on their authors' own splits")
        return found

    def _seed_remarks(self) -> list[str]:
        found = []
        single = [method.label for method in self.methods if len(method.runs) == 1]
        if single:
            which = "" if len(single) == len(self.methods) else f" of {', '.join(single)}"
            found.append(f"one seed{which}: the interval is over episodes, of this one training")
        few = [method.label for method in self.methods if 1 < len(method.runs) < _FEW_SEEDS]
        if few:
            found.append(
                f"fewer than {_FEW_SEEDS} seeds: {', '.join(few)}; intervals from so few trainings "
                "are too narrow"
            )
        for method in self.methods:
            if len(set(method.iterations)) > 1:
                least, most = min(method.iterations), max(method.iterations)
                found.append(
                    f"unequal training among the seeds of {method.label}: {least:,} to {most:,} "
                    "iterations"
                )
        return found


def load_few_shot_runs(
    paths: Iterable[Path],
    split: str,
    evaluate: Callable[[Path, Mapping[str, object]], object] | None = None,
) -> list[FewShotRun]:
    """The runs with their results on `split`: one for each size of episodes that was evaluated.

    `evaluate` makes the result of a run that has none, and those that are older than its last
    checkpoint; it is called with the run folder and overrides of the configuration. Without it such
    runs are refused by UserError.
    """
    paths = list(paths)
    stale = [(path, changed) for path in paths for changed in _due(path, split)]
    if stale and evaluate is None:
        path, changed = stale[0]
        count = len({path for path, _ in stale})
        more = f" ({count} such runs of {len(paths)})" if count > 1 else ""
        raise UserError(
            f"{path} has no {split} evaluation of its last checkpoint{more}; "
            f"run `{evaluate_command(path, changed)}`, or add --evaluate"
        )
    for path, changed in stale:
        if evaluate:
            evaluate(path, changed)
    return [
        _load(path, file) for path in paths for file in result_files(RunFolder.open(path), split)
    ]


def evaluate_command(path: str | Path, overrides: Mapping[str, object]) -> str:
    """`metarl evaluate RUN ...` with these overrides."""
    flags = {"evaluation.split": "split", "evaluation.steps": "steps", "evaluation.seed": "seed"}
    flags["evaluation.episodes"] = "episodes"
    words = [f"--{flags.get(key, key)} {value}" for key, value in overrides.items()]
    return " ".join(["metarl evaluate", shlex.quote(str(path)), *words])


def changed_settings(config: FewShotConfig, result: FewShotResult) -> dict[str, object]:
    """Overrides of a run's configuration with which its evaluation is this result; the split is
    always told."""
    details, given = result.details, result.details.get("evaluation", {})
    own = dataclasses.asdict(config.evaluation)
    found: dict[str, object] = {"evaluation.split": given.get("split", own["split"])}
    for key, value in given.items():
        if key != "split" and value != own.get(key):
            found[f"evaluation.{key}"] = value
    for name in SIZES[1:] if result.kind == "regression" else SIZES:  # curves have no ways
        if details[name] != getattr(config.episodes, name):
            found[f"episodes.{name}"] = details[name]
    mode = details.get("normalization")
    if mode is not None and mode != config.model.normalization:
        found["model.normalization"] = mode
    return found


def compare_few_shot(
    runs: Sequence[FewShotRun], allow_mixed: bool = False
) -> tuple[FewShotComparison, ...]:
    """Runs grouped by data and size of episodes, and there by method; sizes ascending.

    UserError for runs of one group that were tested on other episodes, unless `allow_mixed`: then
    the group's warnings say so; and for two runs of one method and seed.
    """
    groups: dict[tuple[Any, ...], list[FewShotRun]] = {}
    for run in runs:
        groups.setdefault(run.place, []).append(run)
    sizes = Counter(place[:-1] for place in groups)
    found = []
    for place, own in sorted(groups.items()):
        kind, data, ways, shots, queries = place
        size = f"{ways}way_{shots}shot" if kind == "classification" else f"{shots}points"
        alone = sizes[place[:-1]] == 1
        slug = f"{data}_{size}" if alone else f"{data}_{size}_{queries}queries"
        methods = _methods(own)
        sign = -1 if kind == "classification" else 1
        methods.sort(key=lambda each: sign * float(each.scores[..., -1].mean()))
        suffix = "" if alone else f", {queries} queries"
        compared = FewShotComparison(re.sub(r"[^\w.-]+", "_", slug), tuple(methods), suffix)
        if not allow_mixed:
            _refuse_mixed(compared)
        found.append(compared)
    return tuple(found)


def result_file(run: RunFolder, split: str) -> Path:
    """Where a run has its result on a split, with episodes of its own size."""
    return run.evaluation / f"fewshot-{split}.json"


def result_files(run: RunFolder, split: str) -> list[Path]:
    """All results of a run on a split; see `metarl.fewshot.run.result_name`."""
    own = result_file(run, split)
    return [*([own] if own.exists() else []), *sorted(run.evaluation.glob(f"{own.stem}-*.json"))]


def _methods(runs: Sequence[FewShotRun]) -> list[MethodResult]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[FewShotRun]] = {}
    for run in runs:
        key = json.dumps([run.settings, run.result.scores.shape, run.protocol], default=str)
        groups.setdefault(key, []).append(run)
    own = list(groups.values())
    for each in own:
        _refuse_same_seed(each)
    labels = [_label(each[0], [other[0] for other in own]) for each in own]
    return [
        MethodResult(label if labels.count(label) == 1 else f"{label} #{index + 1}", tuple(each))
        for index, (label, each) in enumerate(zip(labels, own, strict=True))
    ]


def _refuse_same_seed(runs: Sequence[FewShotRun]) -> None:
    first: dict[int, Path] = {}
    for run in runs:
        seed = run.config.run.seed
        if first.setdefault(seed, run.path) != run.path:
            raise UserError(
                f"{first[seed]} and {run.path} are the same method with the same seed, {seed}; "
                "leave one out"
            )


def _label(run: FewShotRun, others: Sequence[FewShotRun]) -> str:
    """The name of the method, with the settings that tell it from others of this name."""
    alike = [each.settings for each in others if each.settings["algorithm.name"] == _name(run)]
    different = [
        f"{key.partition('.')[2]}={_text(value)}"
        for key, value in run.settings.items()
        if any(each.get(key) != value for each in alike)
    ]
    return f"{_name(run)} ({', '.join(different[:3])})" if different else _name(run)


def _text(value: Any) -> str:
    """A setting as its YAML has it."""
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )


def _name(run: FewShotRun) -> str:
    return run.config.algorithm.name


def _refuse_mixed(each: FewShotComparison) -> None:
    for name, values in _mixed(each.runs).items():
        told = "; ".join(
            f"{value} in {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
            for value, paths in values.items()
        )
        raise UserError(
            f"runs on {each.title} differ in {name}: {told}; compare runs of one kind, or add "
            "--allow-mixed and the report will say what differs"
        )


def _mixed(runs: Sequence[FewShotRun]) -> dict[str, dict[str, list[str]]]:
    """Parts of the protocol in which runs differ: the runs that have each value."""
    values: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in run.protocol.items():
            if value is not None:  # results of older versions do not say everything
                values.setdefault(name, {}).setdefault(str(value), []).append(str(run.path))
    return {name: found for name, found in values.items() if len(found) > 1}


def _due(path: Path, split: str) -> list[dict[str, object]]:
    """Overrides of each evaluation that is missing, or older than the last checkpoint."""
    run = RunFolder.open(path)
    files = result_files(run, split)
    if not files:
        return [{"evaluation.split": split}]
    last = max(Checkpoints(run.checkpoints).iterations(), default=0)
    loaded = [_load(path, file) for file in files]
    old = [each for each in loaded if each.result.details.get("iteration", 0) < last]
    return [changed_settings(each.config, each.result) for each in old]


def _load(path: Path, file: Path) -> FewShotRun:
    result = FewShotResult.load(file)
    missing = [
        key for key in ("data", "ways", "shots", "size", "queries") if key not in result.details
    ]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}; run `metarl evaluate {path}` again")
    return FewShotRun(path, load_config(RunFolder.open(path).config_file), result)
