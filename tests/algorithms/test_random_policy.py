"""The random baseline."""

import gymnasium
import numpy as np
import pytest
import torch

from metarl.algorithms.random_policy import RandomConfig, RandomPolicy
from metarl.errors import UserError
from metarl.policies import make_policy
from metarl.sampling import ActionBoundary
from metarl_envs.bandit import BernoulliBandit
from tests.algorithms.baselines import adapted, assert_same_episodes, make_problem


@pytest.mark.parametrize("scaling", ["unit", "ten", "none"])
def test_actions_are_uniform_over_the_box_whatever_the_scaling(scaling):
    learner, sampler = make_problem(RandomConfig(), scaling=scaling, episodes=600)
    trajectories = adapted(learner, sampler, 0)[0]
    actions = sampler.boundary(trajectories.actions[trajectories.mask])
    # Each of ten bins of the box [-0.1, 0.1] holds a tenth; clipping would pile up at the edges.
    for dimension in actions.T:
        shares = torch.histc(dimension, bins=10, min=-0.1, max=0.1) / len(actions)
        assert shares.sum() == pytest.approx(1.0)
        # 9000 draws: a standard deviation of 0.003
        assert ((shares - 0.1).abs() < 0.015).all()
    assert abs(float(torch.corrcoef(actions.T)[0, 1])) < 0.05


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [("unit", [-1, -1], [1, 1]), ("ten", [-10, -10], [10, 10]), ("none", [-2, 0], [4, 1])],
)
def test_the_policy_range_is_what_covers_the_box(scaling, low, high):
    edges = np.array([[-2, 0], [4, 1]], dtype=np.float32)
    box = gymnasium.spaces.Box(edges[0], edges[1])
    found = ActionBoundary(box, scaling).policy_range()
    torch.testing.assert_close(found, (torch.tensor(low).float(), torch.tensor(high).float()))


def test_discrete_actions_are_uniform():
    learner, sampler = make_problem(RandomConfig(), BernoulliBandit(arms=4), episodes=400)
    actions = adapted(learner, sampler, 0)[0].actions
    assert actions.dtype == torch.int64
    shares = torch.bincount(actions.flatten(), minlength=4) / actions.numel()
    assert len(shares) == 4
    assert ((shares - 0.25).abs() < 0.02).all()


def test_nothing_changes_by_adaptation_but_the_episodes():
    learner, sampler = make_problem(RandomConfig(), episodes=400)
    first, second, third = adapted(learner, sampler, 2)
    assert not torch.equal(first.actions, second.actions)
    assert abs(float(first.returns.mean() - third.returns.mean())) < 0.1
    assert_same_episodes(adapted(learner, sampler, 2), [first, second, third])
    before = learner.meta_update(sampler)
    assert before["train/adaptation_gain"] == 0.0
    assert learner.state_dict() == {}


def test_learning_rates_are_refused():
    learner, sampler = make_problem(RandomConfig())
    with pytest.raises(UserError, match=r"^random adapts without learning rates; set .* to null$"):
        next(learner.adaptation(sampler, 1, [0.1]))


def test_a_box_without_bounds_is_refused():
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    plain = make_policy(space, space, (4,))
    with pytest.raises(UserError, match=r"uniformly random actions need bounds$"):
        RandomPolicy(plain, space)
