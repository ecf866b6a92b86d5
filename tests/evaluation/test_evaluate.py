"""What a point of the adaptation curve costs."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from metarl.algorithms import Learner
from metarl.config import EvaluationConfig
from metarl.evaluation.evaluate import evaluate
from metarl.policies import Policy, make_policy, stack
from metarl.sampling import ActionBoundary, Sampler, Trajectories
from metarl_envs.bandit import BernoulliBandit


class Unchanging(Learner):
    """Does not adapt."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        parameters = self.policy.initial_parameters(np.random.default_rng(0))
        for _ in range(steps + 1):
            yield sampler.collect(stack(parameters, sampler.task_count))


class Trials(Unchanging):
    trials_are_independent = True


@pytest.mark.parametrize(("kind", "cost"), [(Unchanging, 3 * 10), (Trials, 10)])
def test_a_step_costs_all_episodes_or_that_of_its_own_trial(kind: type[Unchanging], cost: int):
    family = BernoulliBandit()
    family.horizon = 10
    policy = make_policy(family.observation_space, family.action_space, (4,))
    boundary = ActionBoundary(family.action_space, "none")
    sampler = Sampler.of(family, 4, 3, policy, boundary, threads=1)
    settings = EvaluationConfig(tasks=4, episodes=3, steps=2)
    curve = evaluate(kind(policy), sampler, settings)
    assert curve.environment_steps.tolist() == [0, cost, 2 * cost]
    assert curve.details["independent_trials"] == kind.trials_are_independent
