"""`metarl compare` of continual runs: run folders in; tables, pictures and one report out."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from metarl.continual.comparison import SequenceComparison, by_sequence
from metarl.continual.report import report_html
from metarl.continual.results import Line
from metarl.continual.runs import load_continual_runs
from metarl.continual.tables import markdown, matrix_rows, rows, with_interval
from metarl.errors import UserError
from metarl.evaluation.compare import REPORT, add_names, picture_files, tell, write_files
from metarl.evaluation.comparison.tables import csv_text

_TEXTS = ("table.csv", "table.md", "matrix.csv", REPORT)
_PICTURES = re.compile(
    r"(matrix|performance|strengths|trade_off|adaptation|plasticity)_[^/]+\.(png|svg)"
)
# What fits a terminal of 100 columns.
_TERMINAL = {
    "average_performance": "performance [95 %]",
    "forgetting": "forgetting [95 %]",
    "forward_transfer": "fwd transfer [95 %]",
}
_TERMINAL_RAW = {"final_return": "return at the end [95 %]"}


def is_part(name: str) -> bool:
    """Whether a comparison of continual runs writes files of this name."""
    return name in _TEXTS or bool(_PICTURES.fullmatch(name))


def load_comparison(
    paths: Sequence[Path],
    allow_mixed: bool = False,
    evaluate: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> tuple[SequenceComparison, ...]:
    """Read runs and group them by their sequence, in the order of the runs.

    Args:
        paths: run folders.
        allow_mixed: compare runs of different MuJoCo versions or episodes, with a warning.
        evaluate: make the record of runs that have none of their last checkpoint.
        on_step: told in words what is going on.

    Raises UserError for anything that stands in the way.
    """

    def evaluate_now(path: Path) -> None:
        from metarl.continual.evaluate import evaluate_continual  # late: seconds of importing

        tell(on_step, f"evaluating {path}")
        evaluate_continual(path)

    tell(on_step, "reading runs")
    runs = load_continual_runs(paths, evaluate_now if evaluate else None)
    found = by_sequence(runs)
    for each in found:
        if each.warnings and not allow_mixed:
            raise UserError(f"{each.warnings[0]}; compare them apart, or add --allow-mixed")
        _ = each.results  # an error in it is one of the runs', and belongs before the first file
    return found


def write_comparison(
    comparison: Sequence[SequenceComparison],
    folder: Path,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Write tables, pictures and the report to a folder; the path of the report.

    Raises UserError for a folder that holds anything else, and when the disk refuses.
    """
    write_files(folder, _files(comparison, on_step), is_part)
    return folder / REPORT


def terminal_tables(comparison: Sequence[SequenceComparison]) -> Iterator[Table | Text]:
    """For a terminal: every method at its best strength, after the warnings."""
    for each in comparison:
        yield from (Text(f"warning: {warning}", style="bold red") for warning in each.warnings)
        results = each.results
        shown = _TERMINAL if results.is_normalized else _TERMINAL_RAW
        found = Table(
            title=each.title,
            caption="\n".join(each.remarks),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        add_names(found, "method, best λ", [line.label for line in results.best])
        found.add_column("seeds", justify="right")
        for heading in shown.values():
            found.add_column(heading, justify="right")
        for line in sorted(results.best, key=_order):
            numbers = [with_interval(line.summary.metrics[name]) for name in shown]
            found.add_row(line.label, str(line.summary.seeds), *numbers)
        yield found


def as_json(comparison: Sequence[SequenceComparison]) -> dict[str, Any]:
    """The tables, warnings and remarks, as JSON has them."""
    return {
        "sequences": [
            {
                "family": each.results.sequence.family,
                "hash": each.results.sequence.hash,
                "stages": each.results.stage_names[1:],
                "methods": rows(each.results),
                "warnings": each.warnings,
                "remarks": each.remarks,
            }
            for each in comparison
        ]
    }


def _files(
    comparison: Sequence[SequenceComparison], on_step: Callable[[str], None] | None
) -> Iterator[tuple[str, bytes]]:
    # Late: matplotlib takes longer to import than everything else here.
    from metarl.continual.pictures import pictures

    vector: dict[tuple[str, str], bytes] = {}
    for each in comparison:
        drawings = pictures(each.results)
        yield from picture_files(drawings, each.slug, each.title, vector, on_step)
    yield "table.csv", csv_text(row for each in comparison for row in rows(each.results)).encode()
    sections = "\n".join(markdown(each.results) for each in comparison)
    yield "table.md", f"# Comparison of continual runs\n\n{sections}".encode()
    learners = (row for each in comparison for row in matrix_rows(each.results))
    yield "matrix.csv", csv_text(learners).encode()
    tell(on_step, "writing the report")
    yield REPORT, report_html(comparison, vector).encode()


def _order(line: Line) -> tuple[float, float]:
    """The best average performance first, or the best return; what has none last."""
    metrics = line.summary.metrics
    values = (metrics["average_performance"].value, metrics["final_return"].value)
    first, second = (-value if value == value else float("inf") for value in values)
    return first, second
