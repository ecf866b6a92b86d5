"""Evaluation of a few-shot run folder."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarl.config import load_config
from metarl.errors import UserError
from metarl.fewshot.config import SIZES, EpisodesConfig, FewShotConfig, ModelConfig
from metarl.fewshot.data import Curves
from metarl.fewshot.evaluate import episodes_hash, evaluate, refuse_not_finite
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.results import FewShotResult
from metarl.tasks import stream
from metarl.training.metrics import log_evaluation
from metarl.training.restore import restore
from metarl.training.run_folder import RunFolder, collect_versions

CURVES_SHOWN = 6
_POINTS_SHOWN = 200


@dataclasses.dataclass(frozen=True, eq=False)
class ShownCurves:
    """Predictions of some curves, for a picture: C curves, sorted by x."""

    context: np.ndarray
    """x and y of the support points, `[C, n, 2]`."""
    x: np.ndarray
    """`[C, m]`, ascending."""
    y: np.ndarray
    """The curves themselves, `[C, m]`."""
    mean: np.ndarray
    """`[C, m]`."""
    std: np.ndarray | None
    """`[C, m]`, or None."""


def result_name(
    split: str,
    trained: EpisodesConfig,
    tested: EpisodesConfig,
    curves: bool = False,
    *others: str | None,
) -> str:
    """Of the files in the folder `evaluation` of a run, without their endings.

    Episodes of another size than the run's own have files of their own, e.g.
    `fewshot-test-20way_5shot`, or `fewshot-test-10points` of curves; and so has each of `others`
    that is there: a mode of BatchNorm or a choice of parameters that is not the run's own, e.g.
    `fewshot-test-support` and `fewshot-test-last`.
    """
    counted = SIZES[1:] if curves else SIZES
    parts = [f"fewshot-{split}"]
    if any(getattr(trained, name) != getattr(tested, name) for name in counted):
        queries = "" if tested.queries == trained.queries else f"_{tested.queries}queries"
        size = f"{tested.shots}points" if curves else f"{tested.ways}way_{tested.shots}shot"
        parts.append(size + queries)
    return "-".join([*parts, *(each for each in others if each is not None)])


def evaluate_few_shot(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> tuple[FewShotResult, Path]:
    """Evaluate a run as far as it was trained; writes `RUN/evaluation/fewshot-<split>.*`.

    Args:
        path: the run folder; a training may be going on in it.
        overrides: of the configuration's `evaluation`, `episodes` (ways, shots and queries of the
            episodes to test on), `model.normalization`, `data.root`, `run.threads` and
            `run.device`, by dotted key.
        on_step: told in words what is going on.

    Returns the result and the path of its picture. Raises UserError for a folder that is no
    few-shot run, where the data are not those that it was trained with, where the classes are
    those that it was trained on, and for episodes that it cannot do.
    """
    # Late: matplotlib takes longer to import than everything else here.
    from metarl.fewshot.pictures import save_pictures

    tell = on_step or (lambda text: None)
    run = RunFolder.open(path)
    trained, config = load_config(run.config_file), load_config(run.config_file, overrides)
    if not isinstance(config, FewShotConfig):
        raise UserError(f"{path} is no few-shot run: {run.config_file} has no section `data`")
    normalization = _other_normalization(trained.model, config.model)
    config = dataclasses.replace(config, episodes=_tested(trained.episodes, config.episodes))
    settings, split = config.evaluation, config.evaluation.split
    if split == "validation" and config.data.train_on_validation:
        raise UserError(f"{path} was trained on the validation classes too; evaluate --split test")
    tell("reading data")
    experiment = FewShotExperiment(config, training=False)
    curves = isinstance(experiment.data, Curves)
    if curves and config.episodes.ways != trained.episodes.ways:
        raise UserError("episodes.ways: curves have no classes; leave it out")
    experiment.refuse_other_data(run.read_versions(), experiment.describe())
    iteration = _restore(experiment, run, trained.episodes.ways)
    best = {"best_iteration": experiment.use_best()} if settings.checkpoint == "best" else {}
    scores = evaluate(
        experiment,
        split,
        settings.episodes,
        lambda done: tell(f"{done} of {settings.episodes} {split} episodes"),
    )
    refuse_not_finite(scores)
    details = {**describe(experiment), "iteration": iteration, **best}
    details["versions"] = collect_versions()
    result = FewShotResult.of(scores, details)
    run.make_evaluation()
    own = trained.evaluation.checkpoint == settings.checkpoint
    others = normalization, None if own else settings.checkpoint
    name = result_name(split, trained.episodes, config.episodes, curves, *others)
    result.save(run.evaluation, name)
    tell("drawing")
    picture = save_pictures(result, shown_curves(experiment), run.evaluation, name)
    measure = result.score_name.replace(" ", "_")
    # Other sizes have tags of their own.
    tag = name.removeprefix("fewshot-")
    log_evaluation(run.path, result.mean, tag, picture, iteration, measure)
    return result, picture


def describe(experiment: FewShotExperiment) -> dict[str, Any]:
    """What is evaluated and how: data, protocol, split hashes, sizes, method and its settings."""
    config, size = experiment.config, experiment.config.episodes
    curves, tested = isinstance(experiment.data, Curves), config.evaluation
    shape = f"{size.shots} points" if curves else f"{size.ways}-way {size.shots}-shot"
    described = {
        **experiment.describe(),
        "method": config.algorithm.name,
        "size": shape,
        "ways": 1 if curves else size.ways,
        "shots": size.shots,
        "queries": size.queries,
        "training_ways": 1 if curves else size.training_ways or size.ways,
        "training_shots": size.training_shots or size.shots,
        "test_episodes": episodes_hash(experiment, tested.split, tested.episodes),
        "data_split": config.data.split,
        "train_on_validation": config.data.train_on_validation,
        "normalization": _normalization(experiment),
        "missing_stage": experiment.learner.missing_stage or None,
        "settings": dataclasses.asdict(config.algorithm),
        "model": dataclasses.asdict(config.model),
        "has_steps": experiment.learner.has_steps,
        "seed": config.run.seed,
        "iterations": config.run.iterations,
        "evaluation": dataclasses.asdict(tested),
    }
    return {name: value for name, value in described.items() if value is not None}


def shown_curves(experiment: FewShotExperiment) -> ShownCurves | None:
    """Predictions of a few test curves at many points; None for classification."""
    config = experiment.config
    if not isinstance(experiment.data, Curves):
        return None
    drawer = experiment.drawer("test", 1, config.episodes.shots, _POINTS_SHOWN)
    seed = config.evaluation.seed
    generators = [stream(seed, "few-shot picture", 0, index) for index in range(CURVES_SHOWN)]
    drawn = drawer.sample(generators)
    *_, found = experiment.learner.predict(drawn, config.evaluation.steps)
    context = torch.cat([drawn.support_inputs, drawn.support_targets], dim=-1)
    order = drawn.query_inputs.squeeze(-1).argsort(dim=1)

    def sorted_values(values: torch.Tensor) -> np.ndarray:
        return values.squeeze(-1).gather(1, order).detach().cpu().numpy()

    assert found.mean is not None
    return ShownCurves(
        context.cpu().numpy(),
        sorted_values(drawn.query_inputs),
        sorted_values(drawn.query_targets),
        sorted_values(found.mean),
        None if found.std is None else sorted_values(found.std),
    )


def _normalization(experiment: FewShotExperiment) -> str | None:
    """BatchNorm's mode; None where nothing passes through BatchNorm."""
    mode = experiment.problem.normalization
    return mode if mode != "none" and experiment.learner.parameters else None


def _tested(trained: EpisodesConfig, wanted: EpisodesConfig) -> EpisodesConfig:
    """The wanted sizes at test, and in training what they were."""
    training = {
        f"training_{name}": getattr(trained, f"training_{name}") or getattr(trained, name)
        for name in SIZES
    }
    return dataclasses.replace(wanted, **training)


def _other_normalization(trained: ModelConfig, wanted: ModelConfig) -> str | None:
    """The mode that is wanted, where it is not the one of training."""
    modes = trained.normalization, wanted.normalization
    if len(set(modes)) == 1:
        return None
    if "none" in modes:
        raise UserError(
            f"model.normalization: this network was trained with {modes[0]} and cannot do "
            f"{modes[1]}, which takes other parameters"
        )
    return modes[1]


def _restore(experiment: FewShotExperiment, run: RunFolder, trained_ways: int) -> int:
    """Give the experiment what the last checkpoint holds; the iteration it is of."""
    try:
        return restore(experiment, run)[0]
    except UserError as error:
        ways = experiment.config.episodes.ways
        if ways == trained_ways:
            raise
        raise UserError(
            f"{experiment.config.algorithm.name} learns parameters for a number of classes, in "
            f"{run.path} for {trained_ways}; evaluate {trained_ways}-way episodes, or train with "
            f"--episodes.ways {ways}"
        ) from error
