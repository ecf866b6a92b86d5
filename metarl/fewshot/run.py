"""Evaluation of a few-shot run folder."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarl.config import load_config
from metarl.errors import UserError
from metarl.fewshot.config import FewShotConfig
from metarl.fewshot.data import Curves
from metarl.fewshot.evaluate import evaluate
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


def result_name(split: str) -> str:
    """Of the files in the folder `evaluation` of a run, without their endings."""
    return f"fewshot-{split}"


def evaluate_few_shot(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> tuple[FewShotResult, Path]:
    """Evaluate the last checkpoint of a run; writes `RUN/evaluation/fewshot-<split>.*`.

    Args:
        path: the run folder; a training may be going on in it.
        overrides: of the configuration's `evaluation`, `run.threads` and `run.device`, by dotted
            key.
        on_step: told in words what is going on.

    Returns the result and the path of its picture. Raises UserError for a folder that is no
    few-shot run, and where the data are not those that it was trained with.
    """
    # Late: matplotlib takes longer to import than everything else here.
    from metarl.fewshot.pictures import save_pictures

    tell = on_step or (lambda text: None)
    run = RunFolder.open(path)
    config = load_config(run.config_file, overrides)
    if not isinstance(config, FewShotConfig):
        raise UserError(f"{path} is no few-shot run: {run.config_file} has no section `data`")
    tell("reading data")
    experiment = FewShotExperiment.from_config(config)
    _refuse_other_data(experiment, run)
    iteration, _ = restore(experiment, run)
    settings, split = config.evaluation, config.evaluation.split
    scores = evaluate(
        experiment,
        split,
        settings.episodes,
        lambda done: tell(f"{done} of {settings.episodes} {split} episodes"),
    )
    details = {**describe(experiment), "iteration": iteration, "versions": collect_versions()}
    result = FewShotResult.of(scores, details)
    run.evaluation.mkdir(exist_ok=True)
    name = result_name(split)
    result.save(run.evaluation, name)
    tell("drawing")
    picture = save_pictures(result, shown_curves(experiment), run.evaluation, name)
    measure = result.score_name.replace(" ", "_")
    log_evaluation(run.path, result.mean, split, picture, iteration, measure)
    return result, picture


def describe(experiment: FewShotExperiment) -> dict[str, Any]:
    """What is evaluated and how: data, protocol, split hashes, sizes, method and its settings."""
    config, size = experiment.config, experiment.config.episodes
    curves = isinstance(experiment.data, Curves)
    shape = f"{size.shots} points" if curves else f"{size.ways}-way {size.shots}-shot"
    described = {
        **experiment.describe(),
        "method": config.algorithm.name,
        "size": shape,
        "ways": 1 if curves else size.ways,
        "shots": size.shots,
        "queries": size.queries,
        "data_split": config.data.split,
        "train_on_validation": config.data.train_on_validation,
        "normalization": _normalization(experiment),
        "settings": dataclasses.asdict(config.algorithm),
        "model": dataclasses.asdict(config.model),
        "has_steps": experiment.learner.has_steps,
        "seed": config.run.seed,
        "evaluation": dataclasses.asdict(config.evaluation),
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
    mode = experiment.config.model.normalization
    data = experiment.data
    images = not isinstance(data, Curves) and data.kind == "images"
    return mode if images and mode != "none" else None


def _refuse_other_data(experiment: FewShotExperiment, run: RunFolder) -> None:
    recorded, now = run.read_versions().get("splits", {}), experiment.describe().get("splits", {})
    for split, content in recorded.items():
        if now.get(split, content) != content:
            raise UserError(
                f"the {split} examples of {experiment.data.name} have changed since {run.path} was "
                f"trained ({content}, now {now[split]}); evaluate with the data that trained it"
            )
