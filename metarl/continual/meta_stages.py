"""A meta-learner on a sequence of task distributions: what it keeps of the earlier ones.

Such a run (`tasks.stages`) measures itself at the end of every stage, on fixed tasks of each one,
before adaptation and after one step of it. Here this becomes a matrix, as continual runs have it.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from metarl.config import Config, load_config
from metarl.continual.metrics import backward_transfer, forgetting
from metarl.errors import UserError
from metarl.files import write_atomically, write_text_atomically
from metarl.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class StageReturns:
    """Mean returns at the ends of D stages, one at least, on the tasks of all S stages.

    Nothing is normalised: neither random actions nor a learner from scratch are measured here.
    """

    names: tuple[str, ...]
    """Of the S stages."""
    distributions: tuple[int, ...]
    """The first stage, 0 to S - 1, that has the same distribution as each of them."""
    pre: np.ndarray
    """`[D, S]`: before adaptation."""
    post: np.ndarray
    """`[D, S]`: after one adaptation step."""
    details: dict[str, Any]
    """What was measured and how, as JSON has it."""

    @property
    def forgetting(self) -> float:
        """`metrics.forgetting` of the returns after adaptation, over the D stages."""
        return float(forgetting(*self._trained()))

    @property
    def backward_transfer(self) -> float:
        """Likewise `metrics.backward_transfer`; NaN before a second distribution."""
        return float(backward_transfer(*self._trained()))

    def _trained(self) -> tuple[np.ndarray, list[int]]:
        """R `[D + 1, J]` on the distributions trained on so far, each once; the stages' columns."""
        done = self.distributions[: len(self.post)]
        columns = sorted(set(done))
        # What they return before training is not measured, and enters neither number.
        before = np.full((1, len(columns)), np.nan)
        return np.vstack([before, self.post[:, columns]]), [columns.index(each) for each in done]

    def to_json(self) -> str:
        """One JSON object; numbers that are not finite are null."""
        record = {
            **self.details,
            "stages_done": len(self.post),
            "pre": [[_finite(value) for value in row] for row in self.pre],
            "post": [[_finite(value) for value in row] for row in self.post],
            "forgetting": _finite(self.forgetting),
            "backward_transfer": _finite(self.backward_transfer),
            "unit": "return after adaptation, not normalised",
        }
        return json.dumps(record, indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A row for each end of a stage and stage that it was measured on; they count from 1."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["after_stage", "on_stage", "tasks", "return_pre", "return_post"])
        for (after, on), value in np.ndenumerate(self.pre):
            post = float(self.post[after, on])
            writer.writerow([after + 1, on + 1, self.names[on], float(value), post])
        return text.getvalue()


def read_stages(folder: str | Path, iteration: int | None = None) -> StageReturns | None:
    """What a run's `metrics.csv` holds of its stages, up to an iteration (None: the last row).

    None for a run without stages, or before the end of the first one. Raises UserError for a folder
    that is no run, and for a damaged file.
    """
    run = RunFolder.open(folder)
    config = load_config(run.config_file)
    if not isinstance(config, Config) or not config.tasks.iterations_per_stage:
        return None
    stages, length = list(config.tasks.stages), config.tasks.iterations_per_stage
    last = length * len(stages)
    ends = range(length, min(last, last if iteration is None else iteration) + 1, length)
    rows = _rows(run.metrics_file, ends, len(stages))
    if not rows:
        return None
    returns = np.array(rows).reshape(len(rows), len(stages), 2)
    details = {
        "family": config.tasks.family,
        "algorithm": config.algorithm.name,
        "seed": config.run.seed,
        "iterations_per_stage": length,
        "stages": [{"name": _name(stage), "parameters": dict(stage)} for stage in stages],
        "evaluation_tasks": config.evaluation.tasks,
        "evaluation_episodes": config.evaluation.episodes,
        "evaluation_seed": config.evaluation.seed,
    }
    return StageReturns(
        names=tuple(map(_name, stages)),
        distributions=tuple(stages.index(stage) for stage in stages),
        pre=returns[..., 0],
        post=returns[..., 1],
        details=details,
    )


def save_stages(returns: StageReturns, folder: str | Path) -> Path:
    """Write `stages.json`, `stages.csv` and `stages.png`; the path of the picture.

    Raises UserError when the disk refuses.
    """
    # Late: matplotlib takes long to import.
    from metarl.evaluation.figures import encode

    folder = Path(folder)
    write_text_atomically(folder / "stages.json", returns.to_json())
    write_text_atomically(folder / "stages.csv", returns.to_csv())
    content = encode(picture(returns), "png")
    write_atomically(folder / "stages.png", lambda file: file.write(content))
    return folder / "stages.png"


def picture(returns: StageReturns) -> "Figure":
    """Two heat maps, before and after adaptation: ends of stages down, tasks of stages across."""
    from metarl.continual.pictures import broken, draw_matrix, raw_scale
    from metarl.evaluation.figures import new_figure

    done, stages = returns.post.shape
    panel = max(2.2, 0.75 * stages)
    figure, panels = new_figure(
        1, 2, height=0.4 * done + 2.7, width=2 * panel + 2.6, sharex=True, sharey=True
    )
    scale = raw_scale([returns.pre, returns.post])
    image: Any = None
    titles = ("before adaptation", "after one adaptation step")
    for axes, values, title in zip(panels, (returns.pre, returns.post), titles, strict=True):
        image = draw_matrix(axes, values, range(done), scale, first_row=0)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(stages), [broken(name) for name in returns.names])
        axes.set_yticks(range(done), [broken(name, 24) for name in returns.names[:done]])
        axes.tick_params(labelsize=8, length=0)
    figure.supylabel("after stage", fontsize=9)
    figure.supxlabel("tasks; framed: those of the stage that has just ended", fontsize=9)
    bar = figure.colorbar(image, ax=panels, location="right", fraction=0.04, aspect=20)
    bar.set_label("return", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    details = returns.details
    figure.suptitle(f"{details['family']} · {details['algorithm']}", fontsize=10)
    return figure


def table(returns: StageReturns) -> Table:
    """Returns after one adaptation step for a terminal; the caption has the metrics."""
    caption = "not normalised"
    for name, value in (
        ("forgetting", returns.forgetting),
        ("backward transfer", returns.backward_transfer),
    ):
        if math.isfinite(value):
            caption += f"; {name} {value:.2f}"
    title = "return after one adaptation step, on tasks of each stage"
    result = Table(title=title, caption=caption, box=box.SIMPLE_HEAD)
    result.add_column("after stage")
    for name in returns.names:
        result.add_column(name, justify="right")
    for name, row in zip(returns.names, returns.post, strict=False):
        result.add_row(name, *(f"{value:.2f}" for value in row))
    return result


def _rows(path: Path, ends: Sequence[int], stages: int) -> list[list[float]]:
    """Returns before and after adaptation, stage by stage, in the rows where stages end."""
    columns = [f"stage/return_{w}_{s + 1}" for s in range(stages) for w in ("pre", "post")]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [
                [float(row[column]) for column in columns]
                for row in csv.DictReader(file)
                if int(row["iteration"]) in ends
            ]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not hold the returns of {stages} stages ({error}); mend that file"
        ) from error


def _name(stage: Mapping[str, object]) -> str:
    """`velocity 0 to 1`; a constant by its value."""
    parts = []
    for name, value in stage.items():
        ends = value if isinstance(value, list | tuple) else [value]
        parts.append(f"{name} {' to '.join(f'{end:g}' for end in ends)}")
    return ", ".join(parts) or "the whole family"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
