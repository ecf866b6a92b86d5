"""Evaluation of a continual run: its record, its pictures, its table."""

import math
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.table import Table

from metarl.config import load_config
from metarl.continual.config import ContinualConfig
from metarl.continual.experiment import ContinualExperiment
from metarl.continual.record import ContinualRecord
from metarl.continual.runs import RECORD
from metarl.continual.summary import Summary
from metarl.errors import UserError
from metarl.evaluation.comparison_statistics import Estimate
from metarl.training.restore import restore
from metarl.training.run_folder import RunFolder

_COLUMNS = {
    "average_performance": "performance",
    "forgetting": "forgetting",
    "forward_transfer": "forward transfer",
    "final_return": "return",
}


def evaluate_continual(
    path: str | Path, on_step: Callable[[str], None] | None = None
) -> tuple[ContinualRecord, Path]:
    """Write what the last checkpoint of a run has measured to `RUN/evaluation/continual.json`.

    Nothing is played again: the policies of earlier stages are gone. Pictures go beside it. Returns
    the record and the path of its file; UserError for a folder that is no continual run.
    """
    # Late: matplotlib takes long to import.
    from metarl.continual.pictures import save_pictures

    run = RunFolder.open(path)
    config = load_config(run.config_file)
    if not isinstance(config, ContinualConfig):
        raise UserError(f"{path} is no continual run: {run.config_file} has no section `sequence`")
    experiment = ContinualExperiment.from_config(config)
    iteration, _ = restore(experiment, run)
    record = experiment.record(iteration)
    run.make_evaluation()
    record.save(run.evaluation / RECORD)
    if on_step:
        on_step("drawing")
    save_pictures([record], run.evaluation)
    return record, run.evaluation / RECORD


def table(summary: Summary) -> Table:
    """Methods and strengths for a terminal, with 95 % intervals over seeds; * marks the best."""
    result = Table(box=box.SIMPLE_HEAD, caption="\n".join(summary.remarks), padding=(0, 1, 0, 0))
    result.add_column("method")
    result.add_column("λ", justify="right")
    for heading in _COLUMNS.values():
        result.add_column(heading, justify="right")
    for each in summary.methods:
        strength = "" if each.strength is None else f"{each.strength:g}"
        marked = f"{strength} *" if strength and each.best else strength
        result.add_row(each.method, marked, *(_cell(each.metrics[name]) for name in _COLUMNS))
    return result


def _cell(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
