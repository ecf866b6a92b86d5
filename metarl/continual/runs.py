"""Continual runs that are to be compared, as their folders describe them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.config import load_config
from metarl.continual.config import ContinualConfig
from metarl.continual.record import ContinualRecord
from metarl.errors import UserError
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder

RECORD = "continual.json"
"""In the folder `evaluation` of a run."""


@dataclass(frozen=True, eq=False)
class ContinualRun:
    """One run: its settings, and what it measured."""

    path: Path
    config: ContinualConfig
    record: ContinualRecord

    @property
    def sequence(self) -> tuple[Any, ...]:
        """What must be the same before two runs may stand in one table."""
        found = self.record.sequence
        updates = self.record.adaptation.shape[-1]
        return found.hash, found.iterations, found.episodes, found.horizon, updates

    @property
    def protocol(self) -> dict[str, Any]:
        """What should be the same in all runs on a sequence."""
        return {
            "MuJoCo version": self.record.versions.get("mujoco", "unknown"),
            "evaluation episodes": self.record.evaluation_episodes,
        }


def load_continual_runs(
    paths: Iterable[Path], evaluate: Callable[[Path], object] | None = None
) -> list[ContinualRun]:
    """The runs with their records.

    `evaluate` makes the record of a run that has none, or one that is older than its last
    checkpoint; without it such runs are refused by UserError.
    """
    paths = list(paths)
    stale = [path for path in paths if not _is_evaluated(path)]
    if stale and evaluate is None:
        more = f" ({len(stale)} such runs of {len(paths)})" if len(stale) > 1 else ""
        raise UserError(
            f"{stale[0]} has no evaluation of its last checkpoint{more}; "
            f"run `metarl evaluate {stale[0]}`, or add --evaluate"
        )
    for path in stale:
        if evaluate:
            evaluate(path)
    return [_load(path) for path in paths]


def _is_evaluated(path: Path) -> bool:
    run = RunFolder.open(path)
    file = run.evaluation / RECORD
    if not file.exists():
        return False
    last = max(Checkpoints(run.checkpoints).iterations(), default=0)
    return ContinualRecord.load(file).iteration >= last


def _load(path: Path) -> ContinualRun:
    run = RunFolder.open(path)
    config = load_config(run.config_file)
    return ContinualRun(path, config, ContinualRecord.load(run.evaluation / RECORD))
