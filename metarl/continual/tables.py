"""The numbers of a continual comparison as text: CSV with every digit, Markdown for people."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from metarl.continual.results import Line, Results
from metarl.continual.summary import METRICS, as_rows
from metarl.evaluation.comparison.tables import markdown_line
from metarl.evaluation.comparison_statistics import Estimate

NAMES = {
    "average_performance": "average performance",
    "forgetting": "forgetting",
    "forward_transfer": "forward transfer",
    "auc": "AUC",
    "auc_reference": "AUC of reference",
    "backward_transfer": "backward transfer",
    "zero_shot_transfer": "zero-shot transfer",
    "adaptation_gain": "adaptation gain",
    "adaptation_area": "adaptation, mean return",
    "dormant_units": "dormant units",
    "stable_rank": "stable rank",
    "weight_norm": "norm of weights",
    "final_return": "return at the end",
}
"""What the metrics are called in tables, in the order of their columns."""
HEADINGS = ("method", "λ", "seeds", *NAMES.values())
"""Of the rows that `cells` gives; the numbers hold their intervals."""
assert set(NAMES) == set(METRICS)


def cells(line: Line) -> list[str]:
    """The line's row under `HEADINGS`, rounded."""
    one = line.summary
    return [
        line.kind,
        "–" if one.strength is None else f"{one.strength:g}",
        str(one.seeds),
        *(with_interval(one.metrics[name]) for name in NAMES),
    ]


def with_interval(found: Estimate) -> str:
    """`0.84 [0.79, 0.90]`; a dash where undefined, no interval for one seed."""
    if math.isnan(found.value):
        return "–"
    if math.isnan(found.low):
        return _number(found.value)
    return f"{_number(found.value)} [{_number(found.low)}, {_number(found.high)}]"


def rows(results: Results) -> list[dict[str, Any]]:
    """One row per method and strength, the numbers of `table.csv`; None where undefined."""
    sequence = results.sequence
    described = {"family": sequence.family, "sequence": sequence.hash}
    return [
        described | {key: _known(value) for key, value in row.items()}
        for row in as_rows(results.summary.methods)
    ]


def matrix_rows(results: Results) -> Iterator[dict[str, Any]]:
    """One row per learner, stage and task: the numbers of `matrix.csv`."""
    names, normalization = results.stage_names, results.normalization
    for line in results.lines:
        one = line.summary
        for learner in line.learners:
            normalized = normalization(learner.matrix)
            for stage, name in enumerate(names):
                for task, on in enumerate(results.tasks):
                    yield {
                        "family": results.sequence.family,
                        "sequence": results.sequence.hash,
                        "method": one.method,
                        "strength": one.strength,
                        "identity": one.identity,
                        "variant": one.variant,
                        "run_seed": learner.record.seed,
                        "seed": learner.row.seed,
                        "stage": stage,
                        "trained_on": name if stage else None,
                        "task": on,
                        "return": _known(float(learner.matrix[stage, task])),
                        "normalized_return": _known(float(normalized[stage, task])),
                    }


def markdown(results: Results) -> str:
    """A section with the remarks and every method and strength; bold: the best of its method."""
    lines = [f"## {title(results)}", "", *(f"- {remark}" for remark in remarks(results)), ""]
    lines += ["Mean over seeds [95 % interval]; bold: the best strength of a method.", ""]
    lines += [markdown_line(HEADINGS), markdown_line(["---"] + ["---:"] * (len(HEADINGS) - 1))]
    for line in results.lines:
        first, *others = cells(line)
        lines.append(markdown_line([f"**{first}**" if line in results.best else first, *others]))
    return "\n".join(lines) + "\n"


def remarks(results: Results) -> list[str]:
    """What qualifies the numbers: all methods, a conflict of tasks first, then single ones."""
    found: dict[str, list[Line]] = {}
    for line in results.lines:
        for remark in line.summary.remarks:
            found.setdefault(remark, []).append(line)
    own = [f"{_named(lines, results)}: {remark}" for remark, lines in found.items()]
    common = sorted(results.summary.remarks, key=lambda each: not each.startswith("interference"))
    return [*common, *own]


def title(results: Results) -> str:
    """`HalfCheetahDynamics-v0: hugefoot, moon`, with `(2 ×)` behind it for repetitions."""
    stages = results.sequence.stages
    once = next(n for n in range(1, len(stages) + 1) if stages == stages[:n] * (len(stages) // n))
    names = ", ".join(results.tasks[task] for task in stages[:once])
    times = f" ({len(stages) // once} ×)" if once < len(stages) else ""
    return f"{results.sequence.family}: {names}{times}"


def _named(lines: Sequence[Line], results: Results) -> str:
    """The lines, a method with all its strengths by its name alone."""
    if len(lines) == len(results.lines):
        return "all methods"
    names = []
    for line in lines:
        whole = all(other in lines for other in results.lines if other.kind == line.kind)
        names.append(line.kind if whole else line.label)
    return "; ".join(dict.fromkeys(names))


def _number(value: float) -> str:
    """Two digits behind the point, none for large numbers; no -0.00."""
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
