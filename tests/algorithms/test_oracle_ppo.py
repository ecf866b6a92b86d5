"""The task-informed oracle."""

import pytest
import torch

from metarl.algorithms.oracle_ppo import OraclePolicy, OraclePPOConfig, flat, informed
from metarl.algorithms.ppo import PPOConfig
from metarl.errors import UserError
from metarl.policies import make_policy
from metarl.tasks import Tasks
from metarl_envs.bandit import GaussianBandit
from metarl_envs.grid_world import GridWorld
from metarl_envs.half_cheetah import HalfCheetahDir
from metarl_envs.point import PointNavigation
from metarl_envs.tabular_mdp import TabularMDP
from tests.algorithms.baselines import (
    SMALL,
    TASKS,
    adapted,
    assert_resumes,
    assert_same_episodes,
    assert_threads_change_nothing,
    make_problem,
    train,
)

CONFIG = OraclePPOConfig(training=SMALL)


def oracle_policy(family) -> OraclePolicy:
    plain = make_policy(family.observation_space, family.action_space, (4,))
    return OraclePolicy(plain, family)


def test_what_it_is_told_has_mean_0_and_standard_deviation_1():
    # A uniform distribution on [-0.5, 0.5] has the standard deviation 1 / sqrt(12).
    policy = oracle_policy(PointNavigation())
    told = policy.information(Tasks({"goal": [[0.0, 0.0], [12**-0.5, -(12**-0.5)]]}))
    expected = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    torch.testing.assert_close(told, expected, atol=0.1, rtol=0.0)
    fresh = policy.information(PointNavigation().sample(3, 0, 1000))
    torch.testing.assert_close(fresh.mean(0), torch.zeros(2), atol=0.15, rtol=0.0)
    torch.testing.assert_close(fresh.std(0), torch.ones(2), atol=0.1, rtol=0.0)
    again = oracle_policy(PointNavigation()).information(Tasks({"goal": [[0.1, 0.2]]}))
    assert torch.equal(again, policy.information(Tasks({"goal": [[0.1, 0.2]]})))


def test_directions_stay_two_numbers_of_opposite_sign():
    policy = oracle_policy(HalfCheetahDir())
    told = policy.information(HalfCheetahDir().split("validation"))
    assert told.shape == (2, 1)
    torch.testing.assert_close(told.abs(), torch.ones(2, 1), atol=0.1, rtol=0.0)
    assert float(told.prod()) < 0.0


def test_parameters_of_any_shape_stand_side_by_side():
    tasks = Tasks({"a": [[[1, 2], [3, 4]]], "b": [0.5], "c": [[7.0]]})
    assert flat(tasks).tolist() == [[1.0, 2.0, 3.0, 4.0, 0.5, 7.0]]
    policy = oracle_policy(TabularMDP())
    assert policy.memory_size == 10 * 5 * 10 + 10 * 5
    assert policy.network.sizes == (10 + 550, 4, 5)


def test_a_parameter_that_never_changes_is_shifted_only():
    class Fixed(PointNavigation):
        def sample(self, seed, iteration, count):
            tasks = super().sample(seed, iteration, count)
            return Tasks({"goal": torch.stack([tasks["goal"][:, 0], torch.full((count,), 2.0)], 1)})

    told = oracle_policy(Fixed()).information(Tasks({"goal": [[0.0, 2.0], [0.0, 3.0]]}))
    assert told[:, 1].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("family", [GridWorld, TabularMDP, lambda: GaussianBandit(arms=3)])
def test_it_learns_on_discrete_families(family):
    learner, sampler = make_problem(CONFIG, family())
    before = {name: value.clone() for name, value in learner.ppo.parameters.items()}
    metrics = train(learner, sampler, 1, 1)
    # Adam's first steps have the size of its rate.
    assert abs(metrics["loss/kl"]) < 0.5
    after = learner.ppo.parameters
    assert any(not torch.equal(after[name], value) for name, value in before.items())


def test_it_acts_as_what_it_is_told_says_and_learns_from_the_same_inputs():
    learner, sampler = make_problem(CONFIG, hidden_sizes=(), scaling="none")
    # A linear policy that walks at what it is told: mean = 0.05 * information, hardly any noise.
    values = learner.ppo.optimizer.parameters
    with torch.no_grad():
        values["weight0"].copy_(torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.05, 0.0], [0.0, 0.05]]))
        values["log_std"].fill_(-9.0)
    trajectories = learner.collect(sampler)
    told = learner.policy.information(sampler.tasks)
    expected = 0.05 * told[:, None, None].expand(-1, 2, 5, -1)
    torch.testing.assert_close(trajectories.actions, expected, atol=1e-3, rtol=0.0)
    samples = learner.ppo.actor_critic.prepare(
        {name: value.expand(TASKS, *value.shape) for name, value in learner.ppo.parameters.items()},
        informed(trajectories, told),
    )
    # log-density of two dimensions within some standard deviations of the mean
    assert (samples.log_probs > 2 * 9.0 - 20.0).all()
    assert samples.inputs.shape == (TASKS, 10, 2 + 2 + 1)


def test_being_told_the_task_pays():
    # Two arms, of which the task says which is better; equal chances without a word of it.
    learner, sampler = make_problem(
        OraclePPOConfig(training=PPOConfig(learning_rate=0.03, epochs=4, minibatches=2)),
        GaussianBandit(arms=2, pulls=4),
        tasks=8,
        episodes=16,
        hidden_sizes=(8,),
    )
    train(learner, sampler, 1, 15)
    means = sampler.family.sample(0, 0, 8)["means"]
    best, blind = 4 * means.max(dim=1).values.mean(), 4 * means.mean()
    reached = adapted(learner, sampler, 0)[0].returns.mean()
    assert reached > blind + 0.5 * (best - blind)


def test_nothing_changes_by_adaptation_but_the_episodes():
    learner, sampler = make_problem(CONFIG)
    before = {name: value.clone() for name, value in learner.ppo.parameters.items()}
    found = adapted(learner, sampler, 2)
    assert len(found) == 3
    assert not torch.equal(found[0].actions, found[1].actions)
    assert_same_episodes(adapted(learner, sampler, 2), found)
    assert all(torch.equal(learner.ppo.parameters[n], v) for n, v in before.items())
    with pytest.raises(UserError, match=r"^oracle_ppo adapts without learning rates; set .* null$"):
        next(learner.adaptation(sampler, 1, [0.1]))


@pytest.mark.parametrize("baseline", ["network", "linear"])
def test_resume_is_bit_exact(baseline):
    assert_resumes(OraclePPOConfig(training=PPOConfig(epochs=2, baseline=baseline)))


def test_threads_change_no_bit():
    assert_threads_change_nothing(CONFIG)
