"""What the metrics of continual runs do not mean, in words."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metarl.continual import metrics
from metarl.continual.analysis import MULTI_TASK, SCRATCH, Analysis, Group
from metarl.continual.record import ContinualRecord

INTERFERENCE = 0.5
"""Average performance of multi-task learners below which tasks are said to conflict."""


def on_all(analysis: Analysis, performance: Mapping[Group, float]) -> Iterator[str]:
    """What holds for all methods, given the average performance of each."""
    yield from on_progress(analysis.records)
    yield from on_normalization(analysis)
    yield from on_stages(analysis)
    yield from on_seeds(analysis)
    yield from on_best(performance)
    yield from on_interference(performance)


def on_progress(records: Sequence[ContinualRecord]) -> Iterator[str]:
    """Runs that have not reached the end."""
    for record in records:
        sequence, last = record.sequence, record.training_returns.shape[1]
        if record.iteration < last:
            done = f"{record.iteration // sequence.iterations} of {len(sequence.stages)} stages"
            yield (
                f"run of seed {record.seed}: stopped after {record.iteration} of {last} "
                f"iterations, {done}; what is measured at the end is missing"
            )


def on_normalization(analysis: Analysis) -> Iterator[str]:
    """Tasks that from-scratch learners do not learn, or hardly."""
    if not analysis.scratch:
        yield (
            "there are no from-scratch learners, so nothing can be normalised: add from_scratch "
            "to algorithm.methods"
        )
        return
    scale = analysis.normalization
    finals = [metrics.after_training(each.matrix, analysis.stages) for each in analysis.scratch]
    spread = np.std(finals, axis=0, ddof=1) if len(finals) > 1 else np.zeros(len(scale.random))
    for task, name in enumerate(analysis.names):
        random, scratch = scale.random[task], scale.scratch[task]
        numbers = f"(return {scratch:.4g}, random actions {random:.4g})"
        if scratch <= random:
            yield (
                f"{name}: from-scratch learners do not learn it {numbers}; it is left out of all "
                "normalised means"
            )
        elif scratch - random < spread[task]:
            yield (
                f"{name}: from-scratch learners gain less than they differ among each other "
                f"{numbers}; its normalised returns are mostly noise"
            )


def on_stages(analysis: Analysis) -> Iterator[str]:
    """Stages without forward transfer."""
    learned = analysis.counted_tasks[list(analysis.stages)]
    for stage in np.flatnonzero(learned & ~analysis.counted_stages):
        yield (
            f"stage {stage + 1} ({analysis.names[analysis.stages[stage]]}): the AUC of a "
            "from-scratch learner reaches 1, where forward transfer is undefined; the stage is "
            "left out of it and of both AUCs"
        )


def on_seeds(analysis: Analysis) -> Iterator[str]:
    """Methods with fewer seeds than others."""
    most = max(len(own) for own in analysis.groups.values())
    for group, own in analysis.groups.items():
        if len(own) < most:
            yield f"{group}: {_seeds(len(own))}, others have {most}"


def on_best(performance: Mapping[Group, float]) -> Iterator[str]:
    """How the best strength was chosen, where there was a choice."""
    choices = [(group.method, *group.setting) for group in performance]
    if len(set(choices)) < len(choices):
        yield (
            "best: of each method the strength with the highest average performance, chosen on "
            "these very runs, so its numbers are a little too good"
        )


def on_interference(performance: Mapping[Group, float]) -> Iterator[str]:
    """Whether the tasks conflict, which multi-task learners that are not told the task show."""
    references = {g: value for g, value in performance.items() if g.method == MULTI_TASK}
    for hidden, reached in references.items():
        if hidden.identity == "hidden" and reached < INTERFERENCE:
            told = {
                g.identity: value
                for g, value in references.items()
                if g.identity != "hidden" and g.variant == hidden.variant
            }
            yield "".join([_conflict(reached), *map(_with_identity, told, told.values())])


def _conflict(reached: float) -> str:
    return (
        "interference: the tasks conflict. Even a policy trained on all of them at once cannot "
        f"serve them with the task hidden (multi_task reaches {reached:.2f}, from-scratch is 1), "
        "so no regulariser can"
    )


def _with_identity(identity: str, reached: float) -> str:
    end = (
        "there it goes away"
        if reached >= INTERFERENCE
        else "so too little training may be the cause as well"
    )
    return f"; with identity={identity} multi_task reaches {reached:.2f}, {end}"


def on_group(analysis: Analysis, group: Group) -> Iterator[str]:
    """What the numbers of one method do not mean."""
    own = analysis.groups[group]
    missing = sum(bool(np.isnan(each.matrix[-1]).any()) for each in own)
    if missing:
        yield f"{missing} of {_seeds(len(own))} without returns after the last stage"
    if len(own) == 1:
        yield "one seed, so there are no intervals"
    if analysis.scratch and not analysis.scratch_like(group):
        yield (
            "forward transfer refers to from-scratch learners with another identity or other "
            "settings"
        )
    if group.method == SCRATCH:
        yield (
            "performance at the end is that of the last stage's policy on all tasks; with a policy "
            "of its own for each task it is 1 by definition"
        )
    if group.method == MULTI_TASK:
        yield "trains on all tasks in every stage, so a stage has no AUC"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
