"""`Suite`: which presets are run with which seeds, read from YAML; and the jobs that it means."""

import dataclasses
import fnmatch
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metarl.config import COMMAND_LINE, load_config, read_yaml
from metarl.errors import UserError, nearest
from metarl.jobs import Job, all_presets
from metarl.suites import first_difference
from metarl.training.run_folder import RunFolder
from metarl.validation import InvalidValue, build, require, require_at_least

_DIFFERS_FROM_RUN_TO_RUN = {
    "run.seed": "list them under seeds in the suite",
    "run.output": "give --output",
}


@dataclass(frozen=True)
class Suite:
    """The content of a suite file. At least one preset, by `presets` or by the matrix."""

    name: str
    """Of the suite, and of its folder below `runs`."""
    seeds: tuple[int, ...]
    """Each preset is run once with each of them."""
    description: str = ""
    """What the suite is for."""
    families: tuple[str, ...] = ()
    """Folders of presets, e.g. half_cheetah_vel, each to be run with all `learners`."""
    learners: tuple[str, ...] = ()
    """Names of presets in each of these folders, e.g. maml_trpo."""
    presets: tuple[str, ...] = ()
    """Presets beyond the matrix, e.g. bernoulli_bandit/maml_trpo."""
    overrides: dict[str, object] = field(default_factory=dict)
    """Dotted keys that every run changes, e.g. {run.environment_steps: 2000000}."""
    overrides_for: dict[str, dict[str, object]] = field(default_factory=dict)
    """More of them for the presets that match a pattern, e.g. {"*/maml_trpo": {...}}; later ones
    win."""
    configs: str = ".."
    """Folder of the presets' folders, seen from the suite file."""

    def __post_init__(self) -> None:
        message = "must be of letters, digits, dots, hyphens and underscores: it names a folder"
        require(re.fullmatch(r"\w[\w.-]*", self.name) is not None, "name", message)
        require(self.seeds != (), "seeds", "must hold at least one seed")
        require_at_least(0, self, "seeds")
        for key in ("seeds", "families", "learners", "presets"):
            _require_distinct(key, getattr(self, key))
        self._require_presets()
        _require_dotted("overrides", self.overrides)
        for pattern, overrides in self.overrides_for.items():
            _require_dotted(f"overrides_for.{pattern}", overrides)

    def _require_presets(self) -> None:
        for key, other in (("families", "learners"), ("learners", "families")):
            alone = getattr(self, key) and not getattr(self, other)
            require(not alone, other, f"must not be empty: each of {key} is run with each of them")
        message = "must not be empty where there are no families and learners either"
        require(bool(self.presets or self.families), "presets", message)
        _require_distinct("presets", self.preset_names)

    @property
    def preset_names(self) -> tuple[str, ...]:
        """`FOLDER/NAME` of each preset, those of the matrix first."""
        matrix = itertools.product(self.families, self.learners)
        return (*(f"{family}/{learner}" for family, learner in matrix), *self.presets)

    def overrides_of(self, preset: str) -> dict[str, object]:
        """What the runs of this preset change."""
        merged = dict(self.overrides)
        for pattern, overrides in self.overrides_for.items():
            if fnmatch.fnmatchcase(preset, pattern):
                # Moved to the end: where one key lies within another, the later one wins too.
                merged = {k: v for k, v in merged.items() if k not in overrides} | overrides
        return merged


def load_suite(path: str | Path) -> Suite:
    """The suite in a YAML file; UserError, in one line that names file and key, for a mistake."""
    try:
        suite = build(Suite, read_yaml(path))
    except InvalidValue as error:
        raise UserError(f"{path}: {error.key or 'the content'} {error.message}") from error
    for pattern in suite.overrides_for:
        if not fnmatch.filter(suite.preset_names, pattern):
            hint = nearest(pattern, suite.preset_names)
            raise UserError(f"{path}: overrides_for.{pattern} matches no preset here; {hint}")
    return suite


def root_of(path: str | Path, output: str | None = None) -> Path:
    """The folder of a suite's runs: `output`, or `runs/NAME`."""
    return Path("runs", load_suite(path).name) if output is None else Path(output)


def plan(path: str | Path, root: Path, overrides: Mapping[str, object] | None = None) -> list[Job]:
    """The jobs of the suite in a file: all presets with the first seed, then with the next.

    So a benchmark that is stopped leaves runs that can be compared.

    Args:
        path: the suite file.
        root: folder that the runs go to, as `PRESET/seedN`.
        overrides: dotted keys of the command line, for all runs; they win.

    Raises UserError for a mistake in the suite, in a preset or in the overrides.
    """
    suite = load_suite(path)
    for key in overrides or {}:
        if key in _DIFFERS_FROM_RUN_TO_RUN:
            advice = _DIFFERS_FROM_RUN_TO_RUN[key]
            raise UserError(f"{COMMAND_LINE}: {key} differs from run to run; {advice}")
    configs = {name: _config(suite, name, path, overrides or {}) for name in suite.preset_names}
    _require_one_protocol(configs, path)
    return [
        Job(name, _with_seed(config, seed), RunFolder(root / name / f"seed{seed}"))
        for seed in suite.seeds
        for name, config in configs.items()
    ]


def _config(suite: Suite, name: str, path: str | Path, overrides: Mapping[str, object]) -> Any:
    configs = Path(path).parent / suite.configs
    presets = all_presets(configs)
    if name not in presets:
        place = configs.resolve()
        raise UserError(f"{path}: there is no preset {name!r} in {place}; {nearest(name, presets)}")
    own = suite.overrides_of(name)
    # Twice, so that a mistake is told to be where it is.
    load_config(presets[name], own, overrides_from=f"{path}: overrides of {name}")
    return load_config(presets[name], {**own, **overrides})


def _with_seed(config: Any, seed: int) -> Any:
    run = dataclasses.replace(config.run, seed=seed, output=None)
    return dataclasses.replace(config, run=run)


def _require_one_protocol(configs: Mapping[str, Any], path: str | Path) -> None:
    """What cannot be compared afterwards had better be told now."""
    kinds = {type(config): name for name, config in configs.items()}
    if len(kinds) > 1:
        raise UserError(
            f"{path}: {' and '.join(kinds.values())} are of different kinds; make two suites"
        )
    difference = first_difference(configs)
    if difference:
        raise UserError(f"{path}: {difference}, which cannot be compared; set it under overrides")


def _require_distinct(key: str, values: tuple[object, ...]) -> None:
    for index, value in enumerate(values):
        require(value not in values[:index], key, f"holds {value!r} twice; keep one")


def _require_dotted(place: str, overrides: Mapping[str, object]) -> None:
    for key in overrides:
        example = "must be a dotted key of a run's settings, such as run.environment_steps"
        require("." in key, f"{place}.{key}", example)
        advice = _DIFFERS_FROM_RUN_TO_RUN.get(key)
        require(advice is None, f"{place}.{key}", f"differs from run to run; {advice}")
