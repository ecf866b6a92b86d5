"""The numbers of a comparison as text: CSV with every digit, Markdown for people."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from metarl.evaluation.comparison.compared import Comparison, FamilyComparison
from metarl.evaluation.comparison.learners import LearnerResult
from metarl.evaluation.comparison_statistics import Estimate

HEADINGS: tuple[str, ...] = (
    "learner",
    "seeds",
    "training environment steps",
    "adaptation steps",
    "environment steps per task",
    "mean before",
    "mean after",
    "IQM after [95 %]",
    "adaptation gain [95 %]",
    "final gain [95 %]",
    "worst 20 % [95 %]",
)
"""Of the rows that `cells` gives."""


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per family and learner, the numbers of `table.csv`; None where there is none."""
    return [
        _row(family, learner, comparison.split)
        for family in comparison.families
        for learner in family.learners
    ]


def table_csv(comparison: Comparison) -> str:
    """`rows` as CSV; empty cells for None."""
    return csv_text(rows(comparison))


def improvement_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per pair of learners: P(first > second) with its interval, twice."""
    return [
        {
            "family": family.name,
            "first": pair.first.label,
            "second": pair.second.label,
            **_estimate("last_step", pair.last),
            "environment_steps": pair.environment_steps,
            **_estimate("at_environment_steps", pair.common),
        }
        for family in comparison.families
        for pair in family.improvements
    ]


def improvements_csv(comparison: Comparison) -> str:
    """`improvement_rows` as CSV."""
    return csv_text(improvement_rows(comparison))


def per_task_csv(comparison: Comparison) -> str:
    """One row per family, learner, seed, task and adaptation step."""
    return csv_text(
        {
            "family": family.name,
            "learner": learner.label,
            "seed": run.seed,
            "task": task,
            "parameters": json.dumps(parameters(run.curve.details, task)),
            "step": step,
            "environment_steps": float(run.curve.environment_steps[step]),
            "return": float(run.curve.returns[task, step]),
        }
        for family in comparison.families
        for learner in family.learners
        for run in learner.runs
        for task in range(len(run.curve.returns))
        for step in run.curve.steps.tolist()
    )


def table_markdown(comparison: Comparison) -> str:
    """A section per family with its table, warnings and remarks."""
    lines = [f"# Comparison on {comparison.split} tasks", ""]
    for family in comparison.families:
        lines += [f"## {family.name}", ""]
        lines += [f"**Warning: {warning}**\n" for warning in family.warnings]
        lines += [markdown_line(HEADINGS), markdown_line(["---"] + ["---:"] * (len(HEADINGS) - 1))]
        lines += [markdown_line(cells(learner)) for learner in family.learners]
        lines += ["", *(f"- {text}" for text in (*family.remarks, order_summary(family))), ""]
    return "\n".join(lines).rstrip() + "\n"


def cells(learner: LearnerResult) -> list[str]:
    """The learner's row under `HEADINGS`, rounded."""
    return [
        learner.label,
        str(len(learner.runs)),
        f"{learner.training_steps:,.0f}",
        str(learner.steps[-1]),
        f"{learner.environment_steps[-1]:,.0f}",
        number(learner.mean[0]),
        number(learner.mean[-1]),
        with_interval(learner.final),
        with_interval(learner.adaptation_gain),
        with_interval(learner.final_gain),
        with_interval(learner.worst),
    ]


def order_summary(family: FamilyComparison) -> str:
    """How much of oracle >= learner >= pre-trained >= random holds."""
    if not family.order:
        return "expected order (oracle ≥ learner ≥ pre-trained ≥ random): no baseline to check with"
    held = len(family.order) - len(family.violations)
    return (
        f"expected order (oracle ≥ learner ≥ pre-trained ≥ random): {held} of "
        f"{len(family.order)} pairs hold"
    )


def parameters(details: Any, task: int) -> dict[str, Any]:
    """The parameters of one task of a curve, where its details name them."""
    tasks = details.get("tasks", [])
    return tasks[task] if task < len(tasks) else {}


def with_interval(found: Estimate | None) -> str:
    """`-12.3 [-14.1, -10.2]`; a dash for None."""
    if found is None:
        return "–"
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def number(value: float) -> str:
    """Two digits behind the point, fewer for large numbers, more for small ones."""
    if value == 0:
        return "0"
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}"


def _row(family: FamilyComparison, learner: LearnerResult, split: str) -> dict[str, Any]:
    return {
        "family": family.name,
        "split": split,
        "learner": learner.label,
        "algorithm": learner.algorithm,
        "role": learner.role,
        "seeds": len(learner.runs),
        "tasks": learner.returns.shape[1],
        "training_environment_steps": learner.training_steps,
        "adaptation_steps": int(learner.steps[-1]),
        "environment_steps_per_task": float(learner.environment_steps[-1]),
        "mean_before": float(learner.mean[0]),
        "mean_after": float(learner.mean[-1]),
        "iqm_before": float(learner.iqm[0]),
        **_estimate("iqm_after", learner.final),
        **_estimate("adaptation_gain", learner.adaptation_gain),
        **_estimate("final_gain", learner.final_gain),
        **_estimate("worst_fifth", learner.worst),
        "failed_episodes": learner.failed_episodes,
    }


def _estimate(name: str, found: Estimate | None) -> dict[str, float | None]:
    names = (name, f"{name}_low", f"{name}_high")
    values = (found.value, found.low, found.high) if found else (None, None, None)
    return dict(zip(names, values, strict=True))


def csv_text(records: Iterable[dict[str, Any]]) -> str:
    """Records of the same keys as CSV with a header; empty cells for None."""
    text, writer = io.StringIO(), None
    for record in records:
        if writer is None:
            writer = csv.DictWriter(text, record.keys(), lineterminator="\n")
            writer.writeheader()
        writer.writerow(record)
    return text.getvalue()


def markdown_line(texts: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
