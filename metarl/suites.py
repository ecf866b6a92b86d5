"""What jobs and suites ask of a kind of experiment: find results, make them, compare them."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from rich.table import Table

from metarl.training.run_folder import RunFolder


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

    def first_difference(self, configs: Mapping[str, Any]) -> str | None:
        """Why presets cannot be compared, in words that name two of them; None if they can.

        `configs` are the configurations by the names of the presets.
        """
        ...

    def compare(self, folders: Sequence[Path], output: Path, split: str) -> Path:
        """Write a report of evaluated runs and show its tables; the report's path."""
        ...


def is_for_suites(kind: Any) -> bool:
    """Whether suites take presets of this configuration class."""
    return hasattr(kind, "suite")


def support_of(config: Any) -> SuiteSupport:
    """The functions for a configuration's kind, one that suites take."""
    return cast("SuiteSupport", importlib.import_module(config.suite))
