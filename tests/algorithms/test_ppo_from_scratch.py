"""PPO from scratch: nothing is learned across tasks, everything on the task."""

import numpy as np
import torch

from metarl.algorithms.ppo import PPOConfig
from metarl.algorithms.ppo_from_scratch import PPOFromScratch, PPOFromScratchConfig
from metarl.optimization import to_vector
from metarl.policies import make_policy, stack
from metarl.sampling import ActionBoundary, Sampler
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks
from metarl_envs.point import PointNavigation


def make(episodes: int, horizon: int) -> tuple[PPOFromScratch, Sampler]:
    family = PointNavigation()
    family.horizon = horizon
    policy = make_policy(family.observation_space, family.action_space, (16,), initial_std=0.5)
    env = TaskVectorEnv(family, 2, episodes)
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "unit"))
    config = PPOFromScratchConfig(adaptation=PPOConfig(learning_rate=0.01, baseline="linear"))
    begin(sampler)
    return PPOFromScratch(policy, config, np.random.default_rng(0)), sampler


def begin(sampler: Sampler) -> None:
    sampler.begin(Tasks({"goal": [[0.4, 0.4], [-0.4, 0.4]]}), "train", 0, 0)


def test_meta_update_measures_and_changes_nothing() -> None:
    learner, sampler = make(episodes=3, horizon=5)
    before = to_vector(learner.parameters).clone()
    metrics = learner.meta_update(sampler)
    assert torch.equal(to_vector(learner.parameters), before)
    begin(sampler)
    expected = float(sampler.collect(stack(learner.parameters, 2)).returns.mean())
    assert metrics["train/return_pre"] == metrics["train/return_post"] == expected
    assert metrics["train/adaptation_gain"] == 0.0


def test_adaptation_learns_each_task_from_the_initial_parameters() -> None:
    learner, sampler = make(episodes=16, horizon=20)
    before = to_vector(learner.parameters).clone()
    stages = [points.returns for points in learner.adaptation(sampler, 6)]
    assert len(stages) == 7
    # goals to the right and to the left: no shared policy gains on both
    assert (stages[-1] > stages[0] + 2.0).all()
    assert torch.equal(to_vector(learner.parameters), before)
    begin(sampler)
    again = [points.returns for points in learner.adaptation(sampler, 6)]
    assert all(torch.equal(*pair) for pair in zip(stages, again, strict=True))


def test_state_goes_from_one_learner_to_another() -> None:
    learner, sampler = make(episodes=3, horizon=5)
    policy = learner.policy
    other = PPOFromScratch(policy, learner.config, np.random.default_rng(1))
    assert not torch.equal(to_vector(other.parameters), to_vector(learner.parameters))
    other.load_state_dict(learner.state_dict())
    assert torch.equal(to_vector(other.parameters), to_vector(learner.parameters))
    assert other.meta_update(sampler)["train/failed_episodes"] == 0.0
