"""PPO on every training task, held together by their mutual distance."""

from dataclasses import replace

import pytest
import torch

from metarl.algorithms.mutual_distance_ppo import (
    MutualDistancePPOConfig,
    distance_penalty,
    spread_around,
)
from metarl.algorithms.ppo import ActorCritic, StackedPPO
from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.policies import Parameters, stack
from tests.algorithms.baselines import (
    SMALL,
    TASKS,
    adapted,
    assert_resumes,
    assert_same_episodes,
    assert_threads_change_nothing,
    begin,
    make_problem,
    train,
)

CONFIG = MutualDistancePPOConfig(training=SMALL, adaptation=SMALL, distance_penalty=0.1)


def some_parameters(tasks: int = 4) -> Parameters:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight0": (tasks, 2, 3), "bias0": (tasks, 3)}
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


def distance(parameters: Parameters, i: int, others: Parameters, j: int) -> torch.Tensor:
    """||theta_i - theta_j||^2"""
    squares = [(value[i] - others[name][j]).square().sum() for name, value in parameters.items()]
    return torch.stack(squares).sum()


def formula(theta: Parameters) -> torch.Tensor:
    """Each pair of tasks once, lambda = 0.3."""
    pairs = [(i, j) for i in range(4) for j in range(i)]
    return 0.3 * torch.stack([distance(theta, i, theta, j) for i, j in pairs]).sum()


def finite_differences(function, parameters: Parameters) -> Parameters:
    width = 1e-5
    slopes = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for name, value in parameters.items():
        for index in range(value.numel()):
            sides = []
            for step in (width, -width):
                moved = {n: v.clone() for n, v in parameters.items()}
                moved[name].view(-1)[index] += step
                sides.append(float(function(moved)))
            slopes[name].view(-1)[index] = (sides[0] - sides[1]) / (2 * width)
    return slopes


@pytest.mark.parametrize("chunks", [[slice(0, 4)], [slice(0, 3), slice(3, 4)]])
def test_gradient_is_that_of_the_formula_over_all_pairs(chunks):
    theta = some_parameters()
    penalty = distance_penalty(theta, 0.3, among_themselves=True)
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    parts = [penalty({n: v[chunk] for n, v in leaves.items()}, chunk) for chunk in chunks]
    found = torch.autograd.grad(torch.stack(parts).sum(), list(leaves.values()))
    expected = finite_differences(formula, theta)
    for one, other in zip(found, expected.values(), strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(one, other, atol=1e-8, rtol=0.0)


def test_away_from_the_start_the_others_stay_where_they_were():
    theta, moved = some_parameters(), {n: v + 0.5 for n, v in some_parameters().items()}
    penalty = distance_penalty(theta, 2.0, among_themselves=True)
    # Differences of values: a constant is left out.
    change = penalty(moved, slice(0, 4)) - penalty(theta, slice(0, 4))
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = sum(distance(moved, i, theta, j) - distance(theta, i, theta, j) for i, j in pairs)
    torch.testing.assert_close(change, torch.as_tensor(2.0 * expected))


def test_a_new_task_pays_for_its_distance_from_every_training_task():
    others, new = some_parameters(4), some_parameters(2)
    moved = {name: value + 0.5 for name, value in new.items()}
    penalty = distance_penalty(others, 2.0, among_themselves=False)
    change = penalty(moved, slice(0, 2)) - penalty(new, slice(0, 2))
    pairs = [(i, j) for i in range(2) for j in range(4)]
    expected = sum(distance(moved, i, others, j) - distance(new, i, others, j) for i, j in pairs)
    torch.testing.assert_close(change, torch.as_tensor(2.0 * expected))


def test_a_single_task_has_no_distance():
    theta = some_parameters(1)
    penalty = distance_penalty(theta, 2.0, among_themselves=True)
    assert float(penalty({n: v + 1.0 for n, v in theta.items()}, slice(0, 1))) == 0.0


def test_without_a_penalty_the_tasks_learn_apart():
    learner, sampler = make_problem(replace(CONFIG, distance_penalty=0.0))
    training = ActorCritic(learner.policy, SMALL)
    alone = StackedPPO(training, stack(learner.parameters, TASKS))
    train(learner, sampler, 1, 2)
    for iteration in (1, 2):
        begin(sampler, iteration)
        trajectories = sampler.collect(alone.parameters)
        alone.update(trajectories, sampler.generators("minibatches"))
    for name, value in learner.residents.parameters.items():
        assert torch.equal(value, alone.parameters[name])


def spread(learner) -> float:
    return float(spread_around(learner.residents.parameters, learner.parameters))


def test_a_large_penalty_draws_the_tasks_together():
    # Adam's steps have the size of its rate: it needs a small one to come close.
    spreads = []
    for weight in (0.0, 10.0):
        config = replace(CONFIG, distance_penalty=weight)
        learner, sampler = make_problem(config)
        train(learner, sampler, 1, 1)
        generator = torch.Generator().manual_seed(0)
        state = learner.state_dict()
        for value in state["residents"]["parameters"].values():
            value += 0.3 * torch.randn(value.shape, generator=generator)
        learner.load_state_dict(state)
        metrics = train(learner, sampler, 2, 13)
        spreads.append(spread(learner))
        assert metrics["loss/spread"] == pytest.approx((spreads[-1] / TASKS) ** 0.5)
    assert spreads[1] < 0.2 * spreads[0]


def test_adaptation_starts_from_the_mean_and_is_drawn_to_it():
    learner, sampler = make_problem(CONFIG)
    train(learner, sampler, 1, 2)
    residents = learner.residents.parameters
    for name, value in learner.parameters.items():
        torch.testing.assert_close(value, residents[name].mean(dim=0))
    free, _ = make_problem(replace(CONFIG, distance_penalty=0.0))
    free.load_state_dict(learner.state_dict())
    first, second = adapted(learner, sampler, 1)
    free_first, free_second = adapted(free, sampler, 1)
    assert_same_episodes([first], [free_first])
    assert not torch.equal(second.actions, free_second.actions)
    assert all(torch.equal(residents[n], v) for n, v in learner.residents.parameters.items())


def test_before_the_first_iteration_adaptation_is_ppo_from_scratch():
    learner, sampler = make_problem(CONFIG)
    assert learner.rule() is None
    assert len(adapted(learner, sampler, 1)) == 2


def test_resume_is_bit_exact():
    assert_resumes(CONFIG)
    assert_resumes(CONFIG, before=0)


def test_threads_change_no_bit():
    assert_threads_change_nothing(CONFIG)


def test_another_number_of_tasks_is_refused():
    learner, sampler = make_problem(CONFIG)
    train(learner, sampler, 1, 1)
    _, fewer = make_problem(CONFIG, tasks=2)
    with pytest.raises(UserError, match="has learned on 3 tasks, and cannot on 2; keep"):
        learner.meta_update(fewer)


@pytest.mark.parametrize("training_tasks", [None, 5])
def test_a_set_of_other_tasks_than_the_meta_batch_is_refused(training_tasks):
    mapping = {
        "tasks": {
            "family": "PointNavigation-v0",
            "tasks_per_iteration": 4,
            "training_tasks": training_tasks,
        },
        "algorithm": {"name": "mutual_distance_ppo"},
    }
    refusal = r"tasks.training_tasks must be tasks.tasks_per_iteration = 4: .*; got (None|5)$"
    with pytest.raises(UserError, match=refusal):
        from_mapping(mapping, "test.yaml")
    mapping["tasks"]["training_tasks"] = 4
    from_mapping(mapping, "test.yaml")
    mapping["algorithm"]["distance_penalty"] = -1.0
    with pytest.raises(UserError, match=r"distance_penalty must be at least 0, got -1"):
        from_mapping(mapping, "test.yaml")
