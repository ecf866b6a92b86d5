"""`metarl compare`: run folders in, a folder with tables, pictures and one report out."""

import dataclasses
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from rich import box
from rich.table import Table
from rich.text import Text

from metarl.errors import UserError
from metarl.evaluation.comparison.compared import Comparison, compare_runs
from metarl.evaluation.comparison.report import report_html
from metarl.evaluation.comparison.runs import find_runs, load_runs
from metarl.evaluation.comparison.tables import (
    HEADINGS,
    cells,
    improvement_rows,
    improvements_csv,
    order_summary,
    per_task_csv,
    rows,
    table_csv,
    table_markdown,
)
from metarl.files import cannot_write, write_atomically

REPORT = "report.html"
_TEXTS = ("table.csv", "table.md", "per_task.csv", "improvement.csv", REPORT)
_PICTURES = re.compile(r"(curves|final|profile|improvement|training)_[^/]+\.(png|svg)")
# What fits a terminal of 100 columns, by the headings of the tables.
_TERMINAL = {
    "learner": "learner",
    "seeds": "seeds",
    "training environment steps": "trained for",
    "IQM after [95 %]": "IQM after [95 %]",
    "adaptation gain [95 %]": "gain [95 %]",
}


def compare(
    folders: Sequence[str | Path],
    output: str | Path | None = None,
    allow_mixed: bool = False,
    split: str = "test",
    evaluate: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Compare runs and write everything about it to a folder; the path of its report.

    Args:
        folders: run folders, or folders that contain some.
        output: the folder; None: a new one at runs/comparison-DATE-TIME. An earlier comparison
            there is replaced.
        allow_mixed: compare runs of different versions, tasks or protocols, with a warning.
        split: the tasks whose evaluation is compared: test, validation or ood.
        evaluate: evaluate runs that have no evaluation of their last checkpoint.
        on_step: told in words what is going on.

    Raises UserError for anything that stands in the way, before the first file is written.
    """
    folder = output_folder(output)
    comparison = load_comparison(folders, allow_mixed, split, evaluate, on_step)
    return write_comparison(comparison, folder, on_step)


def load_comparison(
    folders: Sequence[str | Path],
    allow_mixed: bool = False,
    split: str = "test",
    evaluate: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> Comparison:
    """What `compare` writes; arguments and errors are its."""

    def evaluate_now(path: Path) -> None:
        from metarl.evaluation.run import evaluate_run  # late: seconds of importing

        tell(on_step, f"evaluating {path}")
        evaluate_run(path, {"evaluation.split": split})

    tell(on_step, "reading runs")
    runs = load_runs(find_runs(folders), split, evaluate_now if evaluate else None)
    return compare_runs(runs, split, allow_mixed)


def write_comparison(
    comparison: Comparison,
    folder: Path,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Write tables, pictures and the report to a folder; the path of the report.

    Raises UserError for a folder that `output_folder` refuses, and when the disk does.
    """
    write_files(folder, _files(comparison, on_step))
    return folder / REPORT


def _files(
    comparison: Comparison, on_step: Callable[[str], None] | None
) -> Iterator[tuple[str, bytes]]:
    # Late: matplotlib takes longer to import than everything else here.
    from metarl.evaluation.comparison.pictures import learner_styles, pictures

    styles = learner_styles(comparison)
    vector: dict[tuple[str, str], bytes] = {}
    for family in comparison.families:
        drawings = pictures(family, styles)
        yield from picture_files(drawings, family.slug, family.name, vector, on_step)
    texts = (table_csv, table_markdown, per_task_csv, improvements_csv)
    for name, text in zip(_TEXTS, texts, strict=False):
        yield name, text(comparison).encode()
    tell(on_step, "writing the report")
    yield REPORT, report_html(comparison, vector).encode()


def picture_files(
    drawings: Mapping[str, Callable[[], Any]],
    slug: str,
    title: str,
    vector: dict[tuple[str, str], bytes],
    on_step: Callable[[str], None] | None,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the pictures of one group of runs, each as PNG and as SVG.

    Args:
        drawings: by name, what makes the figure, or None where there is nothing to draw.
        slug: the group in file names.
        title: the group in words.
        vector: takes the SVGs by slug and name, for a report.
        on_step: told in words what is going on.
    """
    from metarl.evaluation.figures import encode  # late: matplotlib takes long to import

    for name, draw in drawings.items():
        tell(on_step, f"drawing {name} of {title}")
        figure = draw()
        if figure is None:
            continue
        yield f"{name}_{slug}.png", encode(figure, "png")
        vector[slug, name] = encode(figure, "svg")
        yield f"{name}_{slug}.svg", vector[slug, name]


def is_part(name: str) -> bool:
    """Whether a comparison writes files of this name."""
    return name in _TEXTS or bool(_PICTURES.fullmatch(name))


def output_folder(output: str | Path | None, is_part: Callable[[str], bool] = is_part) -> Path:
    """Where a comparison may go: a new or empty folder, or one with an earlier comparison only.

    Args:
        output: the folder; None: a new one at runs/comparison-DATE-TIME.
        is_part: whether a file of this name is part of a comparison.

    Raises UserError for any other; makes nothing yet.
    """
    folder = _default_folder() if output is None else Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; choose another --output")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if not is_part(name)]
    if foreign:
        raise UserError(
            f"{folder} holds {foreign[0]}, which is no part of a comparison; "
            "choose another --output"
        )
    return folder


def write_files(
    folder: Path,
    files: Iterable[tuple[str, bytes]],
    is_part: Callable[[str], bool] = is_part,
) -> None:
    """Write the files of a comparison, each whole or not at all; what an earlier one left goes.

    Args:
        folder: where; made if it is not there.
        files: name and content of each.
        is_part: as in `output_folder`, whose errors are raised, as is what the disk refuses.
    """
    output_folder(folder, is_part)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    written = set()
    for name, content in files:
        write_atomically(folder / name, partial(_write, content))
        written.add(name)
    # Pictures of an earlier comparison would be taken for part of this one.
    for path in folder.iterdir():
        if path.name not in written and is_part(path.name):
            path.unlink()


def terminal_tables(comparison: Comparison) -> Iterator[Table | Text]:
    """For a terminal: each family's learners, the best first, after its warnings."""
    for family in comparison.families:
        yield from (Text(f"warning: {warning}", style="bold red") for warning in family.warnings)
        result = Table(
            title=family.name,
            caption="\n".join((*family.remarks, order_summary(family))),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for name, heading in _TERMINAL.items():
            if name == "learner":
                add_names(result, heading, [learner.label for learner in family.learners])
            else:
                result.add_column(heading, justify="right")
        for learner in family.learners:
            row: dict[str, str] = dict(zip(HEADINGS, cells(learner), strict=True))
            result.add_row(*(row[name] for name in _TERMINAL))
        yield result


def add_names(table: Table, heading: str, names: Sequence[str]) -> None:
    """A column of names. A narrow terminal breaks intervals, names only between their words."""
    words = [name.split() for name in names]
    longest = max(len(word) for each in words for word in each)
    table.add_column(heading, min_width=longest, no_wrap=all(len(each) == 1 for each in words))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The tables, warnings and remarks, as JSON has them."""
    order = [
        {
            "family": family.name,
            "upper": check.upper.label,
            "lower": check.lower.label,
            "difference": dataclasses.asdict(check.difference),
            "holds": check.holds,
        }
        for family in comparison.families
        for check in family.order
    ]
    return {
        "split": comparison.split,
        "learners": rows(comparison),
        "improvements": improvement_rows(comparison),
        "order": order,
        "warnings": {family.name: family.warnings for family in comparison.families},
        "remarks": {family.name: family.remarks for family in comparison.families},
    }


def _default_folder() -> Path:
    first = Path("runs", f"comparison-{time.strftime('%Y%m%d-%H%M%S')}")
    for attempt in itertools.count(1):
        path = first if attempt == 1 else first.with_name(f"{first.name}-{attempt}")
        if not path.exists():
            return path
    raise AssertionError("itertools.count ended")


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def tell(on_step: Callable[[str], None] | None, text: str) -> None:
    """Say what is going on to whoever wants to know."""
    if on_step:
        on_step(text)
