"""Checks that results depend on the seed alone: not on repetition, threads, layout or history."""

from metarl.conformance.probes import (
    PURPOSE,
    SEED,
    STEPS,
    CheckFailed,
    difference,
    environments_of,
    fixed_lists,
    make_env,
    play,
    random_actions,
)
from metarl.tasks import TaskDistribution, TaskStreams

TASKS, EPISODES = 4, 3


def check_determinism(family: TaskDistribution) -> None:
    """The same seed gives the same tasks, lists and episodes, also in a used environment."""
    _check_draws(family)
    tasks = family.sample(SEED, 0, TASKS)
    actions = random_actions(family, STEPS, TASKS * EPISODES)
    env = make_env(family, tasks, EPISODES)
    first = play(env, _streams(), actions)
    advice = (
        "draw all random numbers from the `random` argument, and keep nothing on the family "
        "between calls"
    )
    if found := difference(first, play(env, _streams(), actions)):
        raise CheckFailed(f"the same episodes again in one environment: {found}; {advice}")
    other = make_env(family, tasks, EPISODES)
    if found := difference(first, play(other, _streams(), actions)):
        raise CheckFailed(f"the same episodes in a new environment: {found}; {advice}")


def _check_draws(family: TaskDistribution) -> None:
    tasks = family.sample(SEED, 0, TASKS)
    advice = "draw parameters only from the generator that `draw` is given"
    if family.sample(SEED, 0, TASKS) != tasks:
        raise CheckFailed(f"the same seed gives other tasks the second time; {advice}")
    if family.sample(SEED, 0, 1) != tasks[0]:
        raise CheckFailed(f"task 0 depends on how many tasks are drawn with it; {advice}")
    if not family.is_finite() and family.sample(SEED, 1, TASKS) == tasks:
        raise CheckFailed(f"every iteration draws the same tasks; {advice}")
    for name, listed in fixed_lists(family).items():
        if family.split(name) != listed:
            raise CheckFailed(f"the list {name} is another the second time; {advice}")


def check_layout(family: TaskDistribution) -> None:
    """The numbers of a task do not depend on threads, nor on which tasks share its environment."""
    tasks = family.sample(SEED, 0, TASKS)
    actions = random_actions(family, STEPS, TASKS * EPISODES)
    together = play(make_env(family, tasks, EPISODES), _streams(), actions)
    threaded = make_env(family, tasks, EPISODES, threads=2)
    if found := difference(together, play(threaded, _streams(), actions)):
        raise CheckFailed(f"2 threads instead of 1: {found}; make the engine's threads independent")
    for part in (range(1), range(1, 3), range(3, TASKS)):
        rows = slice(part.start * EPISODES, part.stop * EPISODES)
        env = make_env(family, tasks[part.start : part.stop], EPISODES)
        apart = play(env, _streams(part), actions[:, rows])
        if found := difference(environments_of(together, rows), apart):
            raise CheckFailed(
                f"{len(part)} of {TASKS} tasks in an environment of their own: {found}; compute "
                "each row from that row alone, with no mean, index or draw across environments"
            )


def check_set_tasks(family: TaskDistribution) -> None:
    """Giving the same tasks again, or after others, changes nothing."""
    tasks, others = family.sample(SEED, 0, TASKS), family.sample(SEED, 1, TASKS)
    actions = random_actions(family, STEPS, TASKS * EPISODES)
    env = make_env(family, tasks, EPISODES)
    first = play(env, _streams(), actions)
    for batches, what in (
        ((tasks, tasks), "set_tasks twice with the same tasks"),
        ((others, tasks), "set_tasks after other tasks"),
    ):
        for batch in batches:
            env.set_tasks(batch)
        if found := difference(first, play(env, _streams(), actions)):
            raise CheckFailed(
                f"{what}: {found}; compute everything from the tasks and the nominal values, so "
                "that scales do not compound"
            )


def _streams(tasks: range = range(TASKS)) -> TaskStreams:
    return TaskStreams.of(SEED, PURPOSE, 0, tasks, EPISODES)
