"""What suites ask of few-shot runs; see `metarl.suites.SuiteSupport`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from metarl.errors import UserError
from metarl.fewshot.comparison import result_file
from metarl.fewshot.config import FewShotConfig
from metarl.fewshot.results import FewShotResult, table
from metarl.fewshot.run import evaluate_few_shot
from metarl.training.run_folder import RunFolder

__all__ = ["compare", "evaluate", "find_evaluation", "first_difference", "table"]


def find_evaluation(run: RunFolder, config: FewShotConfig, iteration: int) -> FewShotResult | None:
    """The result in the folder, if it is of this iteration and of these settings."""
    path = result_file(run, config.evaluation.split)
    try:
        result = FewShotResult.load(path)
    except UserError:  # not there, or damaged
        return None
    if not path.with_suffix(".png").exists():  # written last
        return None
    found = result.details.get("iteration"), result.details.get("evaluation")
    wanted = iteration, dataclasses.asdict(config.evaluation)
    return result if found == wanted else None


def evaluate(path: Path) -> FewShotResult:
    """The result of the last checkpoint."""
    return evaluate_few_shot(path)[0]


def first_difference(configs: Mapping[str, FewShotConfig]) -> str | None:
    """One split for all; and the same data and episodes in all presets of a data set and size."""
    first: dict[object, tuple[str, object]] = {}
    for name, config in configs.items():
        data, size, evaluation = config.data, config.episodes, config.evaluation
        problem = (data.name, size.ways, size.shots)
        for key, value, place in (
            ("evaluation.split", evaluation.split, ()),
            ("evaluation.episodes", evaluation.episodes, problem),
            ("evaluation.seed", evaluation.seed, problem),
            ("episodes.queries", size.queries, problem),
            ("data.split", data.split, problem),
        ):
            other, wanted = first.setdefault((key, place), (name, value))
            if value != wanted:
                return f"{key} is {value} in {name}, {wanted} in {other}"
    return None


def compare(folders: Sequence[Path], output: Path, split: str) -> Path:
    """Write the report and show its tables; the report's path."""
    # Late: matplotlib, and nobody needs it before the last run has ended.
    from metarl.fewshot.compare import load_comparison, terminal_tables, write_comparison

    with Console(stderr=True).status("comparing") as status:
        comparison = load_comparison(folders, split, on_step=status.update)
        report = write_comparison(comparison, output, status.update)
    Console().print(*terminal_tables(comparison), sep="\n")
    return report
