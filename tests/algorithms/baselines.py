"""Small runs of the baselines: learners with a sampler, resumed ones, several threads."""

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms import make_learner
from metarl.algorithms.ppo import PPOConfig
from metarl.policies import make_policy
from metarl.sampling import ActionBoundary, Sampler, Trajectories
from metarl.simulation import TaskVectorEnv
from metarl.workers import Workers
from metarl_envs.point import PointNavigation

TASKS, EPISODES, STEPS = 3, 2, 5
# Chunks of one task and of two; minibatches that do not divide the samples.
SMALL = PPOConfig(epochs=2, minibatches=3, tasks_per_chunk=2, learning_rate=0.01)


def make_problem(
    config: Any,
    family: Any = None,
    seed: int = 0,
    threads: int = 1,
    hidden_sizes: tuple[int, ...] = (4,),
    tasks: int = TASKS,
    scaling: Any = "unit",
    episodes: int = EPISODES,
) -> tuple[Any, Sampler]:
    """A learner and a sampler, of point navigation unless another family is given."""
    if family is None:
        family = PointNavigation()
        family.horizon = STEPS
    plain = make_policy(family.observation_space, family.action_space, hidden_sizes)
    generator = np.random.default_rng(seed)
    learner: Any = make_learner(config, plain, family, generator, workers=Workers(threads))
    boundary = ActionBoundary(family.action_space, scaling)
    sampler = Sampler(TaskVectorEnv(family, tasks, episodes), learner.policy, boundary)
    begin(sampler, 1)
    return learner, sampler


def begin(sampler: Sampler, iteration: int) -> None:
    """The same tasks in every iteration, as where training tasks are a fixed set."""
    tasks = sampler.family.sample(0, 0, sampler.task_count)
    sampler.begin(tasks, "train", 0, iteration)


def train(learner: Any, sampler: Sampler, first: int, last: int) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for iteration in range(first, last + 1):
        begin(sampler, iteration)
        metrics = learner.meta_update(sampler)
    return metrics


def adapted(learner: Any, sampler: Sampler, steps: int = 1) -> list[Trajectories]:
    begin(sampler, 99)
    return list(learner.adaptation(sampler, steps))


def in_bytes(value: Any) -> Any:
    """A state with tensors as bytes: equal means the same bit for bit."""
    if isinstance(value, dict):
        return {name: in_bytes(item) for name, item in value.items()}
    if isinstance(value, list):
        return [in_bytes(item) for item in value]
    return value.numpy().tobytes() if isinstance(value, Tensor) else value


def assert_resumes(config: Any, before: int = 2, after: int = 2, **settings: Any) -> None:
    """A state written to a file and read by another learner continues in the same bits."""
    learner, sampler = make_problem(config, **settings)
    train(learner, sampler, 1, before)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other, other_sampler = make_problem(config, seed=7, **settings)
    other.load_state_dict(torch.load(file, weights_only=True))
    saved = in_bytes(learner.state_dict())
    for one, its_sampler in ((learner, sampler), (other, other_sampler)):
        train(one, its_sampler, before + 1, before + after)
    assert in_bytes(learner.state_dict()) != saved
    assert in_bytes(other.state_dict()) == in_bytes(learner.state_dict())
    assert_same_episodes(adapted(other, other_sampler), adapted(learner, sampler))


def assert_threads_change_nothing(config: Any, iterations: int = 2) -> None:
    (one, sampler), (two, other_sampler) = (make_problem(config, threads=n) for n in (1, 3))
    train(one, sampler, 1, iterations)
    train(two, other_sampler, 1, iterations)
    assert in_bytes(one.state_dict()) == in_bytes(two.state_dict())
    assert_same_episodes(adapted(one, sampler), adapted(two, other_sampler))


def assert_same_episodes(some: list[Trajectories], others: list[Trajectories]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.actions, other.actions)
        assert torch.equal(one.rewards, other.rewards)
