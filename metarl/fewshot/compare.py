"""`metarl compare` of few-shot runs: run folders in; tables, pictures and one report out."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from metarl.evaluation.compare import REPORT, add_names, picture_files, tell, write_files
from metarl.evaluation.comparison.tables import csv_text, markdown_line
from metarl.evaluation.comparison_statistics import Estimate
from metarl.fewshot.comparison import (
    FewShotComparison,
    MethodResult,
    compare_few_shot,
    load_few_shot_runs,
)
from metarl.fewshot.published import Published

_TEXTS = ("table.csv", "table.md", REPORT)
_PICTURES = re.compile(r"(scores|steps|calibration)_[^/]+\.(png|svg)")


def is_part(name: str) -> bool:
    """Whether a comparison of few-shot runs writes files of this name."""
    return name in _TEXTS or bool(_PICTURES.fullmatch(name))


def load_comparison(
    paths: Sequence[Path],
    split: str = "test",
    evaluate: bool = False,
    on_step: Callable[[str], None] | None = None,
    allow_mixed: bool = False,
) -> tuple[FewShotComparison, ...]:
    """Read runs and group them by data and size of episodes.

    Args:
        paths: run folders.
        split: the classes whose episodes are compared: test or validation.
        evaluate: evaluate runs that have no result of their last checkpoint.
        on_step: told in words what is going on.
        allow_mixed: compare runs that were tested on other episodes, with a warning.

    Raises UserError for anything that stands in the way.
    """

    def evaluate_now(path: Path, overrides: Mapping[str, object]) -> None:
        from metarl.fewshot.run import evaluate_few_shot  # late: seconds of importing

        tell(on_step, f"evaluating {path}")
        evaluate_few_shot(path, overrides)

    tell(on_step, "reading runs")
    runs = load_few_shot_runs(paths, split, evaluate_now if evaluate else None)
    return compare_few_shot(runs, allow_mixed)


def write_comparison(
    comparison: Sequence[FewShotComparison],
    folder: Path,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Write tables, pictures and the report to a folder; the path of the report.

    Raises UserError for a folder that holds anything else, and when the disk refuses.
    """
    write_files(folder, _files(comparison, on_step), is_part)
    return folder / REPORT


def headings(each: FewShotComparison) -> list[str]:
    """Of the rows that `cells` gives."""
    name = "MSE" if each.first.kind == "regression" else each.first.score_name
    scores = [name if step < 0 else f"{name} after {step}" for step in each.columns]
    scores = [f"{text} [95 %]" for text in scores]
    others = ["NLL [95 %]", "calibration error", "published", "source"]
    return ["method", "seeds", "iterations", "BatchNorm", *scores, *others]


def cells(each: FewShotComparison, method: MethodResult) -> list[str]:
    """The method's row, rounded."""
    error, nll = method.calibration_error, method.nll
    iterations = sorted(set(method.iterations))
    return [
        method.label,
        str(len(method.runs)),
        "–".join(f"{count:,}" for count in {iterations[0]: 0, iterations[-1]: 0}),
        method.normalization or "–",
        *(_score(each, method, step) for step in each.columns),
        "–" if nll is None else f"{nll.value:.3f} [{nll.low:.3f}, {nll.high:.3f}]",
        "–" if error is None else f"{100 * error:.2f} %",
        "; ".join(published_text(each.first.kind, one) for one in method.published) or "–",
        "; ".join(f"{one.source} ({one.confidence})" for one in method.published) or "–",
    ]


def published_text(kind: str, one: Published) -> str:
    """`98.70 ± 0.40 % (transductive)`, or `0.67 / 0.38 / 0.35 (after 1 / 5 / 10 steps)`."""
    mode = {None: "", True: "transductive", False: "not transductive"}[one.transductive]
    rerun = "rerun" if one.confidence == "rerun" else ""
    notes = [text for text in (mode, rerun, one.note) if text]
    if kind == "classification":
        (value,) = one.values.values()
        width = "" if one.half_width is None else f" ± {100 * one.half_width:.2f}"
        text = f"{100 * value:.2f}{width} %"
    else:
        text = " / ".join(f"{value:.2f}" for value in one.values.values())
        notes.insert(0, f"after {' / '.join(str(step) for step in one.values)} steps")
    return f"{text} ({', '.join(notes)})" if notes else text


def rows(each: FewShotComparison) -> Iterator[dict[str, Any]]:
    """One row per method and adaptation step, the numbers of `table.csv`; None where undefined."""
    for method in each.methods:
        details, nll = method.first.details, method.nll
        for step in method.first.steps.tolist():
            last = step == method.first.steps[-1]
            found = method.by_step[step]
            published = {one: one.values[step] for one in method.published if step in one.values}
            if last:
                published |= {
                    one: one.values[None] for one in method.published if None in one.values
                }
            yield {
                "data": details["data"],
                "split": details.get("evaluation", {}).get("split"),
                "ways": details["ways"],
                "shots": details["shots"],
                "queries": details["queries"],
                "training_ways": details.get("training_ways"),
                "training_shots": details.get("training_shots"),
                "episodes": method.first.episodes,
                "method": method.name,
                "label": method.label,
                "normalization": method.normalization,
                "seeds": len(method.runs),
                "iterations": max(method.iterations),
                "step": step,
                "score": each.first.score_name,
                **_estimate("mean", found),
                **_estimate("nll", nll if last else None),
                "calibration_error": method.calibration_error if last else None,
                "published": "; ".join(str(value) for value in published.values()) or None,
                "published_source": "; ".join(one.source for one in published) or None,
                "published_confidence": "; ".join(one.confidence for one in published) or None,
            }


def markdown(each: FewShotComparison) -> str:
    """A section with warnings, the table and remarks."""
    names = headings(each)
    lines = [f"## {each.title}", "", *(f"**Warning: {text}**\n" for text in each.warnings)]
    lines += [markdown_line(names), markdown_line(["---"] + ["---:"] * (len(names) - 1))]
    lines += [markdown_line(cells(each, method)) for method in each.methods]
    lines += ["", *(f"- {text}" for text in (*each.remarks, protocol(each)))]
    return "\n".join(lines) + "\n"


def protocol(each: FewShotComparison) -> str:
    """What was measured, in a sentence."""
    details, first = each.first.details, each.first
    points = "query points" if first.kind == "regression" else "queries of each class"
    return (
        f"{first.episodes:,} episodes with {details['queries']} {points}; "
        f"{details.get('protocol', 'no protocol recorded')}"
    )


def terminal_tables(comparison: Sequence[FewShotComparison]) -> Iterator[Table | Text]:
    """For a terminal: every method, after the warnings."""
    for each in comparison:
        yield from (Text(f"warning: {warning}", style="bold red") for warning in each.warnings)
        # Text: rich takes brackets in a string, as in a file's name, for markup.
        found = Table(
            title=Text(each.title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left"
        )
        # What fits a terminal: neither sources nor likelihoods, nor what no method has.
        names, lines = headings(each), [cells(each, method) for method in each.methods]
        hidden = {"source", "NLL [95 %]", "calibration error", "iterations"}
        shown = [
            index
            for index, name in enumerate(names)
            if name not in hidden and any(line[index] != "–" for line in lines)
        ]
        for index in shown:
            if index:
                found.add_column(Text(names[index]), justify="right", overflow="fold")
            else:
                add_names(found, names[index], [method.label for method in each.methods])
        for line in lines:
            found.add_row(*(Text(line[index]) for index in shown))
        yield found
        yield from (Text(remark) for remark in (*each.remarks, protocol(each)))
        yield Text("")


def as_json(comparison: Sequence[FewShotComparison]) -> dict[str, Any]:
    """The tables, warnings and remarks, as JSON has them."""
    return {
        "few_shot": [
            {
                "data": each.first.details["data"],
                "size": each.first.details["size"],
                "rows": list(rows(each)),
                "warnings": each.warnings,
                "remarks": each.remarks,
            }
            for each in comparison
        ]
    }


def _files(
    comparison: Sequence[FewShotComparison], on_step: Callable[[str], None] | None
) -> Iterator[tuple[str, bytes]]:
    # Late: matplotlib takes longer to import than everything else here.
    from metarl.fewshot.comparison_pictures import pictures
    from metarl.fewshot.report import report_html

    vector: dict[tuple[str, str], bytes] = {}
    for each in comparison:
        yield from picture_files(pictures(each), each.slug, each.title, vector, on_step)
    yield "table.csv", csv_text(row for each in comparison for row in rows(each)).encode()
    sections = "\n".join(markdown(each) for each in comparison)
    yield "table.md", f"# Comparison of few-shot runs\n\n{sections}".encode()
    tell(on_step, "writing the report")
    yield REPORT, report_html(comparison, vector).encode()


def _score(each: FewShotComparison, method: MethodResult, step: int) -> str:
    last = len(method.first.steps) - 1
    # A method without steps has one number, which stands in the last column.
    if step > last and (last > 0 or step != each.columns[-1]):
        return "–"
    found = method.by_step[min(step, last)]
    if each.first.kind == "classification":
        return f"{100 * found.value:.2f} [{100 * found.low:.2f}, {100 * found.high:.2f}] %"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _estimate(name: str, found: Estimate | None) -> dict[str, float | None]:
    names = (name, f"{name}_low", f"{name}_high")
    values = (found.value, found.low, found.high) if found else (None, None, None)
    return dict(zip(names, values, strict=True))
