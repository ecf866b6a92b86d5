"""`SequenceComparison`: what the runs on one sequence say together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metarl.continual.results import Results
from metarl.continual.runs import ContinualRun
from metarl.continual.tables import remarks, title


@dataclass(frozen=True, eq=False)
class SequenceComparison:
    """All runs on one sequence."""

    slug: str
    """The sequence as part of a file name."""
    runs: tuple[ContinualRun, ...]

    @cached_property
    def results(self) -> Results:
        """What the runs measured."""
        return Results.of([run.record for run in self.runs])

    @property
    def title(self) -> str:
        """The family and the tasks in their order."""
        return title(self.results)

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing any number."""
        return [
            f"these runs differ in {name}: "
            + "; ".join(f"{value} in {', '.join(paths)}" for value, paths in values.items())
            for name, values in _mixed(self.runs).items()
        ]

    @property
    def remarks(self) -> list[str]:
        """What qualifies the numbers without putting them in doubt."""
        return remarks(self.results)


def by_sequence(runs: Sequence[ContinualRun]) -> tuple[SequenceComparison, ...]:
    """Runs grouped by their sequence and its length, in the order of the runs."""
    groups: dict[tuple[Any, ...], list[ContinualRun]] = {}
    for run in runs:
        groups.setdefault(run.sequence, []).append(run)
    slugs = _slugs([own[0] for own in groups.values()])
    return tuple(
        SequenceComparison(slug, tuple(own))
        for slug, own in zip(slugs, groups.values(), strict=True)
    )


def _mixed(runs: Sequence[ContinualRun]) -> dict[str, dict[str, list[str]]]:
    """Parts of the protocol in which runs differ: the runs that have each value."""
    values: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in run.protocol.items():
            values.setdefault(name, {}).setdefault(str(value), []).append(str(run.path))
    return {name: found for name, found in values.items() if len(found) > 1}


def _slugs(runs: Sequence[ContinualRun]) -> list[str]:
    """Of every sequence a name of its own: the family, with as much as tells them apart."""
    found: list[str] = []
    for run in runs:
        sequence = run.record.sequence
        name = re.sub(r"[^\w.-]+", "_", sequence.family)
        if len(runs) > 1:
            name += f"_{sequence.hash[:8]}"
        found.append(name if name not in found else f"{name}_{len(found) + 1}")
    return found
