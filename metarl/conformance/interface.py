"""Checks through Gymnasium's vector interface: spaces, dtypes, ends, finite and fresh numbers."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.conformance.probes import (
    SEED,
    STEPS,
    CheckFailed,
    fixed_lists,
    joined,
    make_env,
    random_actions,
    tensors_of,
    watched,
)
from metarl.simulation import MujocoFamily, MujocoState, TaskVectorEnv, TensorFamily
from metarl.tasks import TaskDistribution, Tasks

Call = Callable[[], Any]
Arrays = list[list[np.ndarray]]

ROLLOUT_STEPS = 100
"""Most time steps of the random rollouts that must stay finite."""
DIVERGED = 0.05
"""Fraction of random episodes that may end by diverged physics, beyond one episode."""


def check_spaces(family: TaskDistribution) -> None:
    """Spaces, shapes and dtypes of a whole episode, and one end of it at the horizon."""
    _check_kinds(family)

    def around(name: str, arguments: Sequence[Any], call: Call) -> Any:
        result = call()
        _check_result(family, name, arguments, result)
        return result

    tasks = family.sample(SEED, 0, 2)
    env = make_env(watched(family, around), tasks)
    observation, _ = env.reset(seed=SEED)
    _check_observation(env, observation)
    ended = np.zeros(2, dtype=int)
    actions = random_actions(family, family.horizon + 1, 2).numpy()
    for step, action in enumerate(actions, start=1):
        observation, reward, terminated, truncated, info = env.step(action)
        _check_observation(env, observation)
        _check_array("the reward", reward, np.float64)
        flags = {"terminated": terminated, "truncated": truncated, "failed": info["failed"]}
        for name, flag in flags.items():
            _check_array(name, flag, np.bool_)
        ended += terminated.astype(int) + truncated
        if truncated.any() and step != family.horizon:
            raise CheckFailed(f"an episode is cut at time step {step}; leave cutting to `horizon`")
    if (ended != 1).any():
        raise CheckFailed(f"episodes end {ended.tolist()} times; each must end exactly once")


def _check_kinds(family: TaskDistribution) -> None:
    for name in ("observation_space", "action_space"):
        space = getattr(family, name, None)
        flat = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        if isinstance(space, gymnasium.spaces.Box) and space.dtype != np.float32:
            raise CheckFailed(f"the {name} is a Box of {space.dtype}; give it dtype np.float32")
        if not flat and not isinstance(space, gymnasium.spaces.Discrete):
            raise CheckFailed(f"the {name} is {space}; use a flat Box of float32, or Discrete")
        if isinstance(space, gymnasium.spaces.Discrete) and space.start != 0:
            raise CheckFailed(f"the {name} starts at {space.start}; let its indices start at 0")
    if not isinstance(family.horizon, int) or family.horizon < 1:
        raise CheckFailed(f"the horizon is {family.horizon!r}; give a whole number of time steps")


def _check_result(
    family: TaskDistribution, name: str, arguments: Sequence[Any], result: Any
) -> None:
    """What a function of a tensor or MuJoCo family gives: one row for each environment."""
    n = next((len(argument) for argument in arguments if isinstance(argument, Tasks)), None)
    if n is None or not isinstance(family, TensorFamily | MujocoFamily):
        return
    shapes: dict[str, tuple[int, ...]] = {
        "observation": (n, *(family.observation_space.shape or ())),
        "reward": (n,),
        "terminated": (n,),
    }
    if name in shapes and not (isinstance(result, Tensor) and tuple(result.shape) == shapes[name]):
        got = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise CheckFailed(
            f"{name} gives {got} for {n} environments; return a tensor of shape "
            f"{list(shapes[name])}, one row for each"
        )
    if name == "terminated" and result.dtype != torch.bool:
        raise CheckFailed(f"terminated gives {result.dtype}; return torch.bool, e.g. by comparing")
    if name in ("reset", "transition"):
        parts = result if isinstance(result, tuple) else (result,)
        if any(not isinstance(part, Tensor) or len(part) != n for part in parts):
            raise CheckFailed(f"{name} must give one row for each of {n} environments")


def _check_observation(env: TaskVectorEnv, observation: np.ndarray) -> None:
    space = env.single_observation_space
    discrete = isinstance(space, gymnasium.spaces.Discrete)
    _check_array("the observation", observation, np.int64 if discrete else np.float32)
    if observation.shape != env.observation_space.shape:
        raise CheckFailed(
            f"the observations have the shape {list(observation.shape)} and their space "
            f"{list(env.observation_space.shape or ())}; make the two agree"
        )
    if isinstance(space, gymnasium.spaces.Box):
        outside = (observation < space.low) | (observation > space.high)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise CheckFailed(
                f"observation[{column}] is {observation[row, column]:g}, outside its space "
                f"[{space.low[column]:g}, {space.high[column]:g}]; widen the observation_space"
            )
    if observation not in env.observation_space:
        raise CheckFailed(f"observations such as {observation[0]} lie outside {space}; widen it")


def _check_array(what: str, array: np.ndarray, dtype: Any) -> None:
    if array.dtype != dtype:
        raise CheckFailed(f"{what} has dtype {array.dtype}; return {np.dtype(dtype)}")
    if not np.isfinite(array).all():
        raise CheckFailed(f"{what} is not finite; keep its terms finite for every state")


def check_finite(family: TaskDistribution) -> str | None:
    """Random actions on tasks of every list: finite rewards, and physics that hold.

    MuJoCo may diverge in a few percent of the episodes of randomised bodies: a rollout ends such an
    episode. Nothing else may.
    """
    lists = fixed_lists(family)
    extremes = lists.get("ood", lists["validation"])
    tasks = joined([family.sample(SEED, 1, 4), lists["test"][:2], extremes[:2]])
    env = make_env(watched(family, _finite_result), tasks, threads=2)
    env.reset(seed=SEED)
    started, failed = env.num_envs, 0
    for action in random_actions(family, min(family.horizon, ROLLOUT_STEPS), env.num_envs).numpy():
        info = env.step(action)[-1]
        failed += int(info["failed"].sum())
        ended = ~env.active.numpy()
        if ended.any():
            started += int(ended.sum())
            env.reset(options={"reset_mask": ended})
    if failed > (DIVERGED * started + 1 if isinstance(family, MujocoFamily) else 0):
        raise CheckFailed(
            f"{failed} of {started} random episodes ended by states or rewards that are not "
            "finite; narrow the parameters' ranges, shorten the time step, or bound the terms"
        )
    return f"physics diverged in {failed} of {started} random episodes" if failed else None


def _finite_result(name: str, arguments: Sequence[Any], call: Call) -> Any:
    """Rewards and observations of finite states must be finite."""
    result = call()
    if name not in ("reward", "observation"):
        return result
    finite = torch.ones(len(result), dtype=torch.bool)
    for state in arguments:
        if isinstance(state, Tensor | MujocoState):
            for values in tensors_of(state):
                finite &= torch.isfinite(values).view(len(finite), -1).all(dim=1)
    bad = finite & ~torch.isfinite(result).view(len(finite), -1).all(dim=1)
    if bad.any():
        index = int(bad.nonzero()[0, 0])
        tasks = next(argument for argument in arguments if isinstance(argument, Tasks))
        raise CheckFailed(
            f"{name} gives {result[index].tolist()} in a finite state of task "
            f"{tasks[index].to_json()[1:-1]}; keep logarithms, roots and quotients in their domain"
        )
    return result


def check_fresh(family: TaskDistribution) -> None:
    """What is returned is the caller's own, and what is given stays as it was."""
    tasks = family.sample(SEED, 0, 3)
    _check_arguments_stay(family, tasks)
    env = make_env(family, tasks)
    actions = random_actions(family, STEPS, 3).numpy()
    kept, copies = _play_arrays(env, actions, write=False)
    env.reset(seed=SEED + 1)
    for action in actions:
        env.step(action)
    advice = "return fresh arrays, e.g. tensor.clone()"
    if (step := _first_difference(copies, kept)) is not None:
        raise CheckFailed(
            f"arrays returned at time step {step} change when the environment goes on; {advice}"
        )
    _, written = _play_arrays(env, actions, write=True)
    if (step := _first_difference(copies, written)) is not None:
        raise CheckFailed(f"writing into returned arrays changes time step {step}; {advice}")


def _check_arguments_stay(family: TaskDistribution, tasks: Tasks) -> None:
    def around(name: str, arguments: Sequence[Any], call: Call) -> Any:
        tensors = [tensor for argument in arguments for tensor in tensors_of(argument)]
        # A tensor, and all views of it, counts the changes made in place.
        versions = [tensor._version for tensor in tensors]
        result = call()
        if versions != [tensor._version for tensor in tensors]:
            raise CheckFailed(
                f"{name} changes its arguments in place; compute new tensors, e.g. clamp() "
                "instead of clamp_(), or clone() first"
            )
        return result

    env = make_env(watched(family, around), tasks)
    given = Tasks.from_json(tasks.to_json())
    env.reset(seed=SEED)
    for action in random_actions(family, STEPS, 3):
        kept = action.clone()
        env.step_episodes(action)
        if not torch.equal(action, kept):
            raise CheckFailed("a step changes the actions it is given; copy them first")
    if tasks != given:
        raise CheckFailed("the tasks given to set_tasks change; copy them first")


def _play_arrays(env: TaskVectorEnv, actions: np.ndarray, write: bool) -> tuple[Arrays, Arrays]:
    """The arrays of a reset and of each step, and copies made at once; `write` overwrites them."""
    returned, copies = [], []
    for action in (None, *actions):
        result = env.reset(seed=SEED) if action is None else env.step(action)
        arrays = [part for part in result if isinstance(part, np.ndarray)]
        arrays += result[-1].values()
        returned.append(arrays)
        copies.append(copy.deepcopy(arrays))
        if write:
            for array in arrays:
                array.fill(1)
    return returned, copies


def _first_difference(one: Arrays, other: Arrays) -> int | None:
    for step, (a, b) in enumerate(zip(one, other, strict=True)):
        if not all(map(np.array_equal, a, b)):
            return step
    return None
