"""What suites ask of meta-RL runs; see `metarl.suites.SuiteSupport`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from metarl.config import Config
from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve, table
from metarl.evaluation.run import evaluate_run
from metarl.training.run_folder import RunFolder

__all__ = ["compare", "evaluate", "find_evaluation", "first_difference", "table"]


def find_evaluation(run: RunFolder, config: Config, iteration: int) -> AdaptationCurve | None:
    """The curve in the folder, if it is of this iteration and of these settings."""
    settings = config.evaluation
    path = run.evaluation / f"{settings.split}.json"
    try:
        curve = AdaptationCurve.load(path)
    except UserError:  # not there, or damaged
        return None
    if not path.with_suffix(".png").exists():  # written last
        return None
    rates = curve.details.get("inner_learning_rates")
    found = (
        curve.returns.shape[:2],
        curve.details.get("iteration"),
        curve.details.get("episodes"),
        curve.details.get("evaluation_seed"),
        None if rates is None else tuple(rates),
    )
    wanted = (
        (settings.tasks, settings.steps + 1),
        iteration,
        settings.episodes,
        settings.seed,
        settings.inner_learning_rates,
    )
    return curve if found == wanted else None


def evaluate(path: Path) -> AdaptationCurve:
    """The curve of the last checkpoint."""
    return evaluate_run(path)[0]


def first_difference(configs: Mapping[str, Config]) -> str | None:
    """One split for all, and one protocol for each problem."""
    first: dict[object, tuple[str, object]] = {}
    for name, config in configs.items():
        tasks, evaluation = config.tasks, config.evaluation
        problem = (tasks.family, *sorted(tasks.options.items()))
        for key, value, place in (
            ("evaluation.split", evaluation.split, ()),
            ("evaluation.tasks", evaluation.tasks, problem),
            ("evaluation.episodes", evaluation.episodes, problem),
            ("tasks.horizon", tasks.horizon, problem),
        ):
            other, wanted = first.setdefault((key, place), (name, value))
            if value != wanted:
                return f"{key} is {value} in {name}, {wanted} in {other}"
    return None


def compare(folders: Sequence[Path], output: Path, split: str) -> Path:
    """Write the report and show its tables; the report's path."""
    # Late: matplotlib, and nobody needs it before the last run has ended.
    from metarl.evaluation.compare import load_comparison, terminal_tables, write_comparison

    with Console(stderr=True).status("comparing") as status:
        comparison = load_comparison(folders, split=split, on_step=status.update)
        report = write_comparison(comparison, output, status.update)
    Console().print(*terminal_tables(comparison), sep="\n")
    return report
