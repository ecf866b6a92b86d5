"""What suites ask of meta-RL runs; see `metarl.suites.SuiteSupport`."""

from collections.abc import Iterator
from pathlib import Path

from metarl.config import Config
from metarl.evaluation.curves import AdaptationCurve, table
from metarl.evaluation.run import evaluate_run
from metarl.suites import load_complete
from metarl.training.run_folder import RunFolder

__all__ = ["evaluate", "find_evaluation", "settings_to_share", "table"]


def find_evaluation(run: RunFolder, config: Config, iteration: int) -> AdaptationCurve | None:
    """The curve in the folder, if it is of this iteration and of these settings."""
    settings = config.evaluation
    path = run.evaluation / f"{settings.split}.json"
    curve = load_complete(path, AdaptationCurve.load)
    if curve is None:
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


def settings_to_share(config: Config) -> Iterator[tuple[str, object, object]]:
    """One split for all, and one protocol for each problem."""
    tasks, evaluation = config.tasks, config.evaluation
    problem = (tasks.family, *sorted(tasks.options.items()))
    yield "evaluation.split", evaluation.split, ()
    yield "evaluation.tasks", evaluation.tasks, problem
    yield "evaluation.episodes", evaluation.episodes, problem
    yield "tasks.horizon", tasks.horizon, problem
