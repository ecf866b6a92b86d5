"""Checks of what a task does: every parameter matters, and none shows in the observation."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metarl.conformance.probes import (
    SEED,
    STEPS,
    CheckFailed,
    equal_streams,
    fixed_lists,
    in_words,
    joined,
    make_env,
    random_actions,
    replaced,
)
from metarl.tasks import TaskDistribution, Tasks, stream

BASES = 3
"""Tasks that each parameter is varied from."""
HOLDING = (0.0, 0.5, 0.9, 0.98, 1.0)
"""Probabilities with which an environment's random action goes on for another time step, so that
some episodes get far from their start."""

VISIBLE = 4
"""Values of the visible parameters under which the others must not show."""


def check_parameters(family: TaskDistribution) -> None:
    """Two tasks that differ in one parameter differ in what equal actions bring about.

    An array parameter is varied as a whole: an element without effect is not found. First a few
    random steps; where they show nothing (sparse rewards), many whole episodes of actions that are
    held for several steps.
    """
    base = family.sample(SEED, 0, BASES)
    variants = {name: _varied(family, base, name) for name in base.names}
    for rounds, episodes, steps in ((1, 2, STEPS), (3, 32, family.horizon)):
        for iteration in range(rounds):
            seen = _effective(family, base, variants, episodes, steps, iteration)
            variants = {name: tasks for name, tasks in variants.items() if name not in seen}
            if not variants:
                return
    raise CheckFailed(
        f"{in_words(list(variants))} changed no reward, observation or end of an episode; "
        "use it in reward, transition or physics, or leave it out"
    )


def _varied(family: TaskDistribution, base: Tasks, name: str) -> Tasks:
    """The base tasks, each with another value of one parameter."""
    drawn = family.sample(SEED, 1, 8 * BASES)[name]
    listed = [value for tasks in fixed_lists(family).values() for value in tasks[name]]
    values = []
    for index, own in enumerate(base[name]):
        candidates = [*drawn[index::BASES], *drawn, *listed]
        other = next((value for value in candidates if not torch.equal(value, own)), None)
        if other is None:
            raise CheckFailed(
                f"{name} has the same value in all tasks; give it a range, or leave it out"
            )
        values.append(other)
    return replaced(base, name, torch.stack(values))


def _effective(
    family: TaskDistribution,
    base: Tasks,
    variants: Mapping[str, Tasks],
    episodes: int,
    steps: int,
    iteration: int,
) -> set[str]:
    """The parameters whose variants differ from the base tasks under equal numbers and actions."""
    tasks = joined([base, *variants.values()])
    env = make_env(family, tasks, episodes)
    observation = env.reset_episodes(equal_streams(len(tasks), episodes, iteration))
    seen = _differing(list(variants), observation)
    held = _held_actions(family, steps, episodes, iteration)
    for action in held:
        if len(seen) == len(variants) or not env.active.any():
            break
        result = env.step_episodes(action.repeat(len(tasks), *[1] * (action.dim() - 1)))
        for values in (result.observation, result.reward, result.terminated):
            seen |= _differing(list(variants), values)
    return seen


def _differing(names: list[str], values: Tensor) -> set[str]:
    """The parameters whose rows of `values`, `[(1 + parameters) * K * N, ...]`, are not base's."""
    blocks = values.reshape(1 + len(names), -1)
    changed = (blocks[1:] != blocks[0]).any(dim=1).tolist()
    return {name for name, differs in zip(names, changed, strict=True) if differs}


def _held_actions(family: TaskDistribution, steps: int, episodes: int, seed: int) -> Tensor:
    """Random actions `[T, N, *action]`, each held for a random time."""
    actions = random_actions(family, steps, episodes, seed)
    hold = np.resize(HOLDING, episodes)
    goes_on = stream(SEED, "held actions", seed).uniform(size=(steps, episodes)) < hold
    for step in range(1, steps):
        kept = torch.from_numpy(goes_on[step])
        actions[step, kept] = actions[step - 1, kept]
    return actions


def check_leak(family: TaskDistribution) -> str | None:
    """Tasks in equal states give bit-identical observations.

    Compared right after a reset with equal random numbers, since a start that depends on the task
    shows the task; and after each of some steps, when all environments have been put into the state
    of one. What the dynamics tell about a task over time is no leak. `visible_parameters` are held
    equal, at several values: what a mask hides at one it may show at another. A task that a family
    stores in its own state, and shows only after the first step, goes unnoticed: copying the state
    copies it too.
    """
    tasks = family.sample(SEED, 0, 4)
    tasks = joined([tasks, *(listed[:2] for listed in fixed_lists(family).values())])
    hidden = [name for name in tasks.names if name not in family.visible_parameters]
    if not hidden:
        return "all parameters are visible: there is nothing to hide"
    for index in range(VISIBLE if family.visible_parameters else 1):
        equal = tasks
        for name in family.visible_parameters:
            equal = replaced(equal, name, _all_like(tasks[name], index))
        if when := _leak(family, equal):
            alone = [name for name in hidden if _leak(family, _varying_alone(equal, name))]
            raise CheckFailed(
                f"{when}, observations differ with {in_words(alone or hidden)} alone; take it out "
                "of the observation (and of the start, if it shows there), or, if it may be seen, "
                "name it in visible_parameters"
            )
    return None


def _leak(family: TaskDistribution, tasks: Tasks) -> str:
    """When the observations of tasks differ, in words; empty if they never do."""
    env = make_env(family, tasks)
    first = env.reset_episodes(equal_streams(len(tasks), 1))
    if not torch.equal(first, _all_like(first, 0)):
        return "after a reset with equal random numbers"
    for iteration, action in enumerate(random_actions(family, STEPS, 1), start=1):
        env.step_episodes(action.repeat(len(tasks), *[1] * (action.dim() - 1)))
        observation = env.engine.copy_state(0)
        if not torch.equal(observation, _all_like(observation, 0)):
            return f"in equal states after time step {iteration}"
        if not env.everyone_active:
            env.reset_episodes(equal_streams(len(tasks), 1, iteration))
    return ""


def _varying_alone(tasks: Tasks, name: str) -> Tasks:
    return Tasks({n: tasks[n] if n == name else _all_like(tasks[n], 0) for n in tasks.names})


def _all_like(values: Tensor, index: int) -> Tensor:
    """As many times the one row."""
    return values[index].expand_as(values)
