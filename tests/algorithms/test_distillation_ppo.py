"""Several policies distilled into one."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from metarl.algorithms.distillation_ppo import DistillationPPOConfig, soften
from metarl.algorithms.ppo import ActorCritic, StackedPPO
from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.policies import Categorical, Gaussian, stack
from metarl_envs.bandit import BernoulliBandit
from tests.algorithms.baselines import (
    SMALL,
    TASKS,
    adapted,
    assert_resumes,
    assert_same_episodes,
    assert_threads_change_nothing,
    begin,
    in_bytes,
    make_problem,
    train,
)

CONFIG = DistillationPPOConfig(
    training=SMALL, adaptation=SMALL, teacher_iterations=2, student_epochs=2, student_minibatches=3
)


def test_softened_categorical_by_hand():
    # z = (log 9, 0): probabilities (0.9, 0.1), and at tau = 2 in proportion to their roots, 3 to 1.
    teacher = soften(Categorical(torch.tensor([[math.log(9.0), 0.0]])), 2.0)
    torch.testing.assert_close(teacher.logits.softmax(-1), torch.tensor([[0.75, 0.25]]))
    student = soften(Categorical(torch.zeros(1, 2)), 2.0)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(student.kl_from(teacher)) == pytest.approx(expected)


def test_softened_gaussian_is_the_density_to_the_power_of_one_over_tau():
    gaussian = Gaussian(torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[math.log(0.5)]]))
    softened = soften(gaussian, 4.0)
    points = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64).unsqueeze(1)
    powers, densities = gaussian.log_prob(points) / 4.0, softened.log_prob(points)
    # in proportion: the logarithms differ by one constant
    torch.testing.assert_close(densities - densities[0], powers - powers[0])
    assert float(softened.log_std.exp()) == pytest.approx(0.5 * math.sqrt(4.0))


@pytest.mark.parametrize("tau", [1.0, 2.5])
@pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])
def test_loss_is_the_scaled_kl_of_the_softened_policies(discrete, tau):
    config = replace(CONFIG, temperature=tau, training=replace(SMALL, value_weight=0.25))
    config = replace(config, adaptation=config.training)
    family = BernoulliBandit(arms=3) if discrete else None
    learner, sampler = make_problem(config, family)
    train(learner, sampler, 1, 2)
    # Away from the teachers' start, where every standard deviation is the same.
    with torch.no_grad():
        for value in learner.student.parameters.values():
            value += 0.3
    teachers = learner.teachers.parameters
    trajectories = sampler.collect(teachers)
    samples = learner.training.prepare(teachers, trajectories)
    found = learner.student_losses(teachers, samples)
    for task in range(TASKS):
        seen = trajectories.observations[task][trajectories.mask[task]]
        student = learner.policy.distribution(learner.student.parameters, seen)
        own = {name: value[task] for name, value in teachers.items()}
        teacher = learner.policy.distribution(own, seen)
        if discrete:
            p, q = (d.logits.div(tau).softmax(-1) for d in (teacher, student))
            kl = (p * (p / q).log()).sum(-1)
        else:
            p, q = (Normal(d.mean, d.log_std.exp() * tau**0.5) for d in (teacher, student))
            kl = kl_divergence(p, q).sum(-1)
        expected = tau**2 * kl.mean()
        torch.testing.assert_close(found["distillation"][task], expected)
        assert expected > 1e-3
        parts = found["distillation"] + 0.25 * found["student_value"]
        torch.testing.assert_close(found["total"], parts)


def test_the_teachers_learn_first_and_then_the_student():
    learner, sampler = make_problem(CONFIG)
    start = {name: value.clone() for name, value in learner.parameters.items()}
    alone = StackedPPO(ActorCritic(learner.policy, SMALL), stack(start, TASKS))
    metrics = train(learner, sampler, 1, 2)
    for iteration in (1, 2):
        begin(sampler, iteration)
        alone.update(sampler.collect(alone.parameters), sampler.generators("minibatches"))
    assert math.isnan(metrics["loss/distillation"])
    for name, value in alone.parameters.items():
        assert torch.equal(learner.teachers.parameters[name], value)
        assert torch.equal(learner.parameters[name], start[name])
    metrics = train(learner, sampler, 3, 3)
    assert metrics["loss/distillation"] > 0.0
    for name, value in alone.parameters.items():
        assert torch.equal(learner.teachers.parameters[name], value)
        assert not torch.equal(learner.parameters[name], start[name])


def test_the_student_of_one_teacher_becomes_it():
    config = replace(CONFIG, teacher_iterations=3, student_epochs=5, student_learning_rate=0.03)
    learner, sampler = make_problem(config, tasks=1)
    train(learner, sampler, 1, 3)
    first = train(learner, sampler, 4, 4)["loss/distillation"]
    last = train(learner, sampler, 5, 12)["loss/distillation"]
    assert last < 0.2 * first


def test_adaptation_is_ppo_from_the_student():
    learner, sampler = make_problem(CONFIG)
    train(learner, sampler, 1, 3)
    found = adapted(learner, sampler, 1)
    begin(sampler, 99)
    learners = StackedPPO(ActorCritic(learner.policy, SMALL), stack(learner.parameters, TASKS))
    first = sampler.collect(learners.parameters)
    learners.update(first, sampler.generators("minibatches"))
    assert_same_episodes(found, [first, sampler.collect(learners.parameters)])


@pytest.mark.parametrize("before", [0, 1, 3], ids=["start", "teachers", "student"])
def test_resume_is_bit_exact(before):
    assert_resumes(CONFIG, before=before)


def test_threads_change_no_bit():
    assert_threads_change_nothing(CONFIG, iterations=3)


def test_a_linear_baseline_needs_no_value_network():
    linear = replace(SMALL, baseline="linear")
    learner, sampler = make_problem(replace(CONFIG, training=linear, adaptation=linear))
    metrics = train(learner, sampler, 1, 3)
    assert "loss/student_value" not in metrics
    assert not any(
        name.startswith("value.") for name in in_bytes(learner.state_dict()["parameters"])
    )


@pytest.mark.parametrize(
    ("tasks", "algorithm", "refusal"),
    [
        ({}, {}, r"tasks.training_tasks must be tasks.tasks_per_iteration = 4: .*; got None$"),
        ({"training_tasks": 4}, {"temperature": 0.0}, "temperature must be greater than 0, got 0"),
        ({"training_tasks": 4}, {"teacher_iterations": 0}, "must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(tasks, algorithm, refusal):
    mapping = {
        "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 4, **tasks},
        "algorithm": {"name": "distillation_ppo", **algorithm},
    }
    with pytest.raises(UserError, match=refusal):
        from_mapping(mapping, "test.yaml")
