"""What suites ask of few-shot runs; see `metarl.suites.SuiteSupport`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from metarl.fewshot.comparison import result_file
from metarl.fewshot.config import FewShotConfig
from metarl.fewshot.results import FewShotResult, table
from metarl.fewshot.run import evaluate_few_shot
from metarl.suites import load_complete
from metarl.training.run_folder import RunFolder

__all__ = ["evaluate", "find_evaluation", "settings_to_share", "table"]


def find_evaluation(run: RunFolder, config: FewShotConfig, iteration: int) -> FewShotResult | None:
    """The result in the folder, if it is of this iteration and of these settings."""
    path = result_file(run, config.evaluation.split)
    result = load_complete(path, FewShotResult.load)
    if result is None:
        return None
    found = result.details.get("iteration"), result.details.get("evaluation")
    wanted = iteration, dataclasses.asdict(config.evaluation)
    return result if found == wanted else None


def evaluate(path: Path) -> FewShotResult:
    """The result of the last checkpoint."""
    return evaluate_few_shot(path)[0]


def settings_to_share(config: FewShotConfig) -> Iterator[tuple[str, object, object]]:
    """One split for all; and the same data and episodes in all presets of a data set and size."""
    data, size, evaluation = config.data, config.episodes, config.evaluation
    problem = (data.name, size.ways, size.shots)
    yield "evaluation.split", evaluation.split, ()
    yield "evaluation.episodes", evaluation.episodes, problem
    yield "evaluation.seed", evaluation.seed, problem
    yield "episodes.queries", size.queries, problem
    yield "data.split", data.split, problem
