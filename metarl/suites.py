"""What jobs and suites ask of a kind of experiment: find results, make them, compare them."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from rich.table import Table

from metarl.errors import UserError
from metarl.training.run_folder import RunFolder

T = TypeVar("T")


class SuiteSupport(Protocol):
    """The functions of a module that a configuration's class names as its `suite`."""

    def find_evaluation(self, run: RunFolder, config: Any, iteration: int) -> Any | None:
        """The evaluation in a run folder, if it is of this iteration and of these settings."""
        ...

    def evaluate(self, path: Path) -> Any:
        """A new evaluation of a run's last checkpoint."""
        ...

    def table(self, evaluation: Any) -> Table:
        """An evaluation for a terminal."""
        ...

    def settings_to_share(self, config: Any) -> Iterable[tuple[str, object, object]]:
        """What must be alike before presets can be compared: a dotted key, its value, and among
        which presets, those that give the same here."""
        ...


def is_for_suites(kind: Any) -> bool:
    """Whether suites take presets of this configuration class."""
    return hasattr(kind, "suite")


def support_of(config: Any) -> SuiteSupport:
    """The functions for a configuration's kind, one that suites take."""
    return cast("SuiteSupport", importlib.import_module(config.suite))


def load_complete(path: Path, load: Callable[[Path], T]) -> T | None:
    """What `load` makes of a file of results; None where it or its picture, written last, is
    missing, and where it is damaged."""
    try:
        found = load(path)
    except UserError:
        return None
    return found if path.with_suffix(".png").exists() else None


def first_difference(configs: Mapping[str, Any]) -> str | None:
    """Why presets of one kind cannot be compared, in words that name two; None if they can.

    `configs` are the configurations by the names of the presets.
    """
    first: dict[object, tuple[str, object]] = {}
    for name, config in configs.items():
        for key, value, place in support_of(config).settings_to_share(config):
            other, wanted = first.setdefault((key, place), (name, value))
            if value != wanted:
                return f"{key} is {value} in {name}, {wanted} in {other}"
    return None
