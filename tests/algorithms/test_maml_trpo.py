"""MAML-TRPO on a small problem in float64, against a reference written task by task."""

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from metarl.algorithms import maml_trpo
from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.optimization import from_vector, to_vector
from metarl.policies import Parameters, make_policy, stack
from metarl.sampling import ActionBoundary, Batch, Sampler
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks
from metarl.validation import InvalidValue
from metarl.workers import Workers
from metarl_envs.point import PointNavigation
from tests.algorithms import small_problem
from tests.algorithms.small_problem import (
    TASKS,
    as_leaves,
    at,
    emptied,
    finite_differences,
    log_prob,
    moved,
    reference_gradient,
    reference_meta_loss,
    reference_policy,
    reference_post_update,
    reference_sampling_loss,
    select,
)

LOSSES = ("likelihood_ratio", "log_likelihood")
# A large rate makes the second-order terms large.
SETTINGS: dict[str, Any] = {"inner_learning_rate": 0.5, "tasks_per_chunk": 2, "cg_damping": 0.0}


make_problem = small_problem.maker(MAMLTRPO, MAMLTRPOConfig, SETTINGS)


def reference_kl(
    learner: MAMLTRPO, parameters: Parameters, pre: list[Batch], post: Batch
) -> Tensor:
    """Mean KL from the learner's own post-update policies to those of other parameters."""
    kls = []
    for task in range(len(post)):
        policies = (
            reference_post_update(learner, initial, pre, task)
            for initial in (as_leaves(learner.parameters), parameters)
        )
        old, new = (reference_policy(policy, post.observations[task]) for policy in policies)
        kls.append((kl_divergence(old, new) * post.weights[task]).sum())
    return torch.stack(kls).mean()


# Meta-loss and meta-gradient --------------------------------------------------------------------

variants = pytest.mark.parametrize("loss", LOSSES)
steps, actions = small_problem.steps, small_problem.actions


@actions
@steps
@variants
def test_meta_gradient_is_that_of_finite_differences(loss, inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_loss=loss, inner_steps=inner_steps)

    def meta_loss(vector: Tensor) -> float:
        return reference_meta_loss(learner, at(learner, vector), pre, post).item()

    value, gradient, _ = learner.meta_gradient(pre, post)
    point = to_vector(learner.parameters)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    assert gradient.norm() > 0.05
    torch.testing.assert_close(gradient, finite_differences(meta_loss, point), atol=1e-8, rtol=0.0)


@actions
@steps
@variants
def test_line_search_evaluates_the_loss_whose_gradient_was_taken(loss, inner_steps, discrete):
    # Away from the old parameters the samples are still those of the old policies.
    learner, pre, post = make_problem(discrete=discrete, inner_loss=loss, inner_steps=inner_steps)
    *_, old = learner.meta_gradient(pre, post)
    new = as_leaves(moved(learner))
    loss_value, kl = learner.meta_loss_and_kl(new, pre, post, old)
    expected_loss = reference_meta_loss(learner, new, pre, post).item()
    expected_kl = reference_kl(learner, new, pre, post).item()
    assert loss_value == pytest.approx(expected_loss, abs=1e-12)
    assert kl == pytest.approx(expected_kl, abs=1e-12)
    assert kl > 0.01


@variants
def test_meta_loss_at_the_old_parameters_is_minus_the_mean_advantage_and_kl_is_zero(loss):
    learner, pre, post = make_problem(inner_loss=loss)
    value, _, old = learner.meta_gradient(pre, post)
    expected = -float((post.advantages * post.weights).sum() / TASKS)
    assert value == pytest.approx(expected, abs=1e-12)
    again, kl = learner.meta_loss_and_kl(learner.parameters, pre, post, old)
    assert again == pytest.approx(value, abs=1e-12)
    assert kl == pytest.approx(0.0, abs=1e-12)


def test_both_inner_losses_adapt_alike_but_differ_in_the_meta_gradient():
    # The same gradient where the samples were drawn; the ratio form adds the square of the score
    # to the second derivative.
    learner, pre, post = make_problem(inner_loss="likelihood_ratio")
    other = make_problem(inner_loss="log_likelihood")[0]
    policies = stack(learner.parameters, TASKS)
    adapted, other_adapted = (one.adapt(policies, pre[0], 0.5) for one in (learner, other))
    for name, value in adapted.items():
        torch.testing.assert_close(value, other_adapted[name], atol=1e-12, rtol=0.0)
    gradient, other_gradient = (one.meta_gradient(pre, post)[1] for one in (learner, other))
    assert (gradient - other_gradient).norm() > 0.01


def test_adapted_parameters_are_one_gradient_step_of_every_task():
    learner, pre, _ = make_problem()
    parameters = as_leaves(learner.parameters)
    adapted = learner.adapt(stack(learner.parameters, TASKS), pre[0], 0.3)
    for task in range(TASKS):
        gradients = reference_gradient(learner, parameters, pre[0], task)
        for name, value in learner.parameters.items():
            torch.testing.assert_close(adapted[name][task], value - 0.3 * gradients[name])
    assert not any(value.requires_grad for value in adapted.values())


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_first_order_takes_the_inner_gradients_as_constant(inner_steps):
    learner, pre, post = make_problem(first_order=True, inner_steps=inner_steps)
    own = as_leaves(learner.parameters)
    shifts = []
    for task in range(TASKS):
        adapted = reference_post_update(learner, own, pre, task)
        shifts.append(to_vector(adapted).detach() - to_vector(learner.parameters))

    def shifted_loss(vector: Tensor) -> float:
        losses = []
        for task, shift in enumerate(shifts):
            policy = reference_policy(at(learner, vector + shift), post.observations[task])
            ratio = torch.exp(log_prob(policy, post.actions[task]) - post.log_probs[task])
            losses.append(-(ratio * post.advantages[task] * post.weights[task]).sum())
        return torch.stack(losses).mean().item()

    _, gradient, _ = learner.meta_gradient(pre, post)
    expected = finite_differences(shifted_loss, to_vector(learner.parameters))
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0.0)
    _, second_order, _ = make_problem(inner_steps=inner_steps)[0].meta_gradient(pre, post)
    assert (gradient - second_order).norm() > 0.01


# The sampling correction ------------------------------------------------------------------------


@actions
@steps
def test_sampling_correction_adds_the_gradient_of_the_first_samples_likelihood(
    inner_steps, discrete
):
    weight = 0.7
    learner, pre, post = make_problem(
        discrete=discrete, inner_steps=inner_steps, sampling_correction=weight
    )

    def meta_loss(vector: Tensor) -> float:
        parameters = at(learner, vector)
        plain = reference_meta_loss(learner, parameters, pre, post)
        return (plain + weight * reference_sampling_loss(parameters, pre, post)).item()

    value, gradient, _ = learner.meta_gradient(pre, post)
    point = to_vector(learner.parameters)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    torch.testing.assert_close(gradient, finite_differences(meta_loss, point), atol=1e-8, rtol=0.0)
    uncorrected = make_problem(discrete=discrete, inner_steps=inner_steps)[0]
    assert (gradient - uncorrected.meta_gradient(pre, post)[1]).norm() > 0.05


def test_line_search_sees_the_sampling_correction():
    learner, pre, post = make_problem(sampling_correction=0.7)
    *_, old = learner.meta_gradient(pre, post)
    new = as_leaves(moved(learner))
    expected = reference_meta_loss(learner, new, pre, post)
    expected = expected + 0.7 * reference_sampling_loss(new, pre, post)
    value, _ = learner.meta_loss_and_kl(moved(learner), pre, post, old)
    assert value == pytest.approx(expected.item(), abs=1e-12)


def test_tasks_that_gain_alike_need_no_sampling_correction():
    # R' - mean is 0 in every task; one task alone is its own mean.
    learner, pre, post = make_problem(sampling_correction=5.0)
    alike = replace(post, returns=torch.full_like(post.returns, 3.0))
    expected = make_problem()[0].meta_gradient(pre, alike)[1]
    torch.testing.assert_close(learner.meta_gradient(pre, alike)[1], expected)
    one = slice(0, 1)
    gradient = learner.meta_gradient([batch[one] for batch in pre], post[one])[1]
    plain = make_problem()[0].meta_gradient([batch[one] for batch in pre], post[one])[1]
    torch.testing.assert_close(gradient, plain)


# Fisher products --------------------------------------------------------------------------------


def fisher_matrix(learner: MAMLTRPO, pre: list[Batch], post: Batch) -> Tensor:
    product = learner.fisher_product(pre, post)
    size = len(to_vector(learner.parameters))
    return torch.stack([product(unit) for unit in torch.eye(size, dtype=torch.float64)], dim=1)


def kl_hessian(learner: MAMLTRPO, pre: list[Batch], post: Batch) -> Tensor:
    """Hessian of the mean post-update KL at the learner's parameters, by two autograd passes."""

    def mean_kl(vector: Tensor) -> Tensor:
        parameters = from_vector(vector, learner.parameters)
        return reference_kl(learner, parameters, pre, post)

    hessian = torch.autograd.functional.hessian(mean_kl, to_vector(learner.parameters))
    assert isinstance(hessian, Tensor)
    return hessian


@actions
@steps
@variants
def test_fisher_product_is_that_of_the_hessian_of_the_post_update_kl(loss, inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_loss=loss, inner_steps=inner_steps)
    matrix = fisher_matrix(learner, pre, post)
    assert matrix.norm() > 0.1
    torch.testing.assert_close(matrix, kl_hessian(learner, pre, post), atol=1e-10, rtol=1e-8)


@actions
def test_fisher_matrix_is_symmetric_and_positive_semi_definite(discrete):
    matrix = fisher_matrix(*make_problem(discrete=discrete))
    torch.testing.assert_close(matrix, matrix.T, atol=1e-12, rtol=0.0)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12


def test_first_order_fisher_product_leaves_the_inner_jacobian_out():
    # Hessian of the KL of the post-update policies in their own parameters
    learner, pre, post = make_problem(first_order=True)
    own = as_leaves(learner.parameters)
    expected = torch.zeros(())
    for task in range(TASKS):
        center = to_vector(reference_post_update(learner, own, pre, task)).detach()
        old = reference_policy(from_vector(center, own), post.observations[task])

        def kl(vector: Tensor, old: Distribution = old, task: int = task) -> Tensor:
            new = reference_policy(from_vector(vector, own), post.observations[task])
            return (kl_divergence(old, new) * post.weights[task]).sum() / TASKS

        hessian = torch.autograd.functional.hessian(kl, center)
        assert isinstance(hessian, Tensor)
        expected = expected + hessian
    torch.testing.assert_close(fisher_matrix(learner, pre, post), expected, atol=1e-10, rtol=1e-8)


def test_damping_is_added_to_the_diagonal():
    plain, damped = (fisher_matrix(*make_problem(cg_damping=d)) for d in (0.0, 0.25))
    identity = torch.eye(len(plain), dtype=torch.float64)
    torch.testing.assert_close(damped - plain, 0.25 * identity, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize(("fraction", "tasks"), [(1 / 3, 1), (0.7, 2), (0.01, 1)])
def test_fraction_of_the_tasks_takes_the_first_with_all_their_pre_update_samples(fraction, tasks):
    learner, pre, post = make_problem(fisher_task_fraction=fraction)
    some = slice(0, tasks)
    expected = kl_hessian(learner, [batch[some] for batch in pre], post[some])
    torch.testing.assert_close(fisher_matrix(learner, pre, post), expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(("fraction", "samples"), [(0.5, [0, 2, 4, 6]), (0.25, [0, 4])])
def test_fraction_of_the_post_update_samples_is_spread_evenly(fraction, samples):
    learner, pre, post = make_problem(fisher_sample_fraction=fraction)
    weights = torch.zeros_like(post.weights)
    weights[:, samples] = post.weights[:, samples]
    thinned = replace(post, weights=weights / weights.sum(dim=1, keepdim=True))
    expected = kl_hessian(learner, pre, thinned)
    torch.testing.assert_close(fisher_matrix(learner, pre, post), expected, atol=1e-10, rtol=1e-8)


# Chunks and threads -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_chunk_size_changes_no_result(size):
    learner, pre, post = make_problem(tasks=5, tasks_per_chunk=size)
    whole = make_problem(tasks=5, tasks_per_chunk=5)[0]
    vector = torch.linspace(-1, 1, len(to_vector(learner.parameters)), dtype=torch.float64)
    loss, gradient, _ = learner.meta_gradient(pre, post)
    expected_loss, expected_gradient, _ = whole.meta_gradient(pre, post)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-12, rtol=0.0)
    products = [one.fisher_product(pre, post)(vector) for one in (learner, whole)]
    torch.testing.assert_close(*products, atol=1e-12, rtol=0.0)
    learner.outer_step(pre, post)
    whole.outer_step(pre, post)
    torch.testing.assert_close(to_vector(learner.parameters), to_vector(whole.parameters))


def test_number_of_worker_threads_changes_no_bit():
    results = []
    for threads in (1, 2, 3):
        learner, pre, post = make_problem(tasks=7, tasks_per_chunk=1, workers=Workers(threads))
        results.append((learner.outer_step(pre, post), to_vector(learner.parameters)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


# The outer step ---------------------------------------------------------------------------------


@actions
@steps
@variants
def test_outer_step_lowers_the_meta_loss_within_the_trust_region(loss, inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_loss=loss, inner_steps=inner_steps)
    before = make_problem(discrete=discrete, inner_loss=loss, inner_steps=inner_steps)[0]
    metrics = learner.outer_step(pre, post)
    new = as_leaves(learner.parameters)
    value = reference_meta_loss(before, new, pre, post).item()
    kl = reference_kl(before, new, pre, post).item()
    assert metrics["loss/accepted"] == 1.0
    assert metrics["loss/meta_after"] < metrics["loss/meta_before"]
    assert metrics["loss/meta_after"] == pytest.approx(value, abs=1e-12)
    assert metrics["loss/kl"] == pytest.approx(kl, abs=1e-12)
    # near the limit of 0.01, but not beyond it
    assert 0.003 < metrics["loss/kl"] <= 0.01


def test_first_candidate_has_a_quadratic_kl_of_exactly_the_limit(monkeypatch):
    # 1/2 s^T F s = max_kl
    learner, pre, post = make_problem(max_kl=0.02)
    seen: list[Tensor] = []
    search = maml_trpo.backtracking_line_search

    def record(evaluate: Any, point: Tensor, step: Tensor, *rest: Any) -> Any:
        seen.append(step)
        return search(evaluate, point, step, *rest)

    monkeypatch.setattr(maml_trpo, "backtracking_line_search", record)
    matrix = fisher_matrix(learner, pre, post)
    _, gradient, _ = learner.meta_gradient(pre, post)
    learner.outer_step(pre, post)
    (step,) = seen
    assert 0.5 * float(step @ matrix @ step) == pytest.approx(0.02, rel=1e-6)
    assert float(gradient @ step) > 0


@pytest.mark.parametrize(
    "values", [(math.inf, 0.0), (math.nan, 0.0), (-9.0, math.nan), (-9.0, 1.0)]
)
def test_parameters_stay_bit_for_bit_when_the_line_search_fails(values, monkeypatch):
    learner, pre, post = make_problem()
    before = {name: value.clone() for name, value in learner.parameters.items()}
    monkeypatch.setattr(learner, "meta_loss_and_kl", lambda *_: values)
    metrics = learner.outer_step(pre, post)
    assert metrics["loss/accepted"] == 0.0
    assert metrics["loss/meta_after"] == metrics["loss/meta_before"]
    assert metrics["loss/kl"] == 0.0
    assert metrics["loss/line_search_steps"] == learner.config.line_search_steps
    assert all(torch.equal(learner.parameters[name], value) for name, value in before.items())


def test_parameters_stay_when_the_trust_region_allows_no_step_that_improves():
    learner, pre, post = make_problem(max_kl=1e-300)
    before = to_vector(learner.parameters).clone()
    assert learner.outer_step(pre, post)["loss/accepted"] == 0.0
    assert torch.equal(to_vector(learner.parameters), before)


@actions
def test_task_whose_every_sample_failed_adds_nothing_to_the_gradient(discrete):
    learner, pre, post = make_problem(discrete=discrete, tasks_per_chunk=1)
    pre, post = [emptied(batch, 2) for batch in pre], emptied(post, 2)
    _, gradient, _ = learner.meta_gradient(pre, post)
    _, others, _ = learner.meta_gradient([batch[:2] for batch in pre], post[:2])
    # the mean over three tasks, of which one is zero
    torch.testing.assert_close(gradient, others * 2 / 3, atol=1e-12, rtol=0.0)
    metrics = learner.outer_step(pre, post)
    assert metrics["loss/accepted"] == 1.0
    assert all(math.isfinite(value) for value in metrics.values())
    assert torch.isfinite(to_vector(learner.parameters)).all()


def test_nothing_moves_when_every_sample_of_every_task_failed():
    learner, pre, post = make_problem(cg_damping=1e-5)
    before = to_vector(learner.parameters).clone()
    everyone = slice(None)
    metrics = learner.outer_step(
        [emptied(batch, everyone) for batch in pre], emptied(post, everyone)
    )
    assert metrics["loss/accepted"] == 0.0
    assert all(math.isfinite(value) for value in metrics.values())
    assert torch.equal(to_vector(learner.parameters), before)


@variants
def test_sample_that_did_not_take_place_cannot_overflow_the_likelihood_ratio(loss):
    # Its weight is 0, but 0 * inf is NaN: exp(1000) overflows.
    learner, pre, post = make_problem(inner_loss=loss)
    _, expected, old = learner.meta_gradient(pre, post)
    expected_values = learner.meta_loss_and_kl(moved(learner), pre, post, old)
    for batch in (*pre, post):
        batch.log_probs[:, -1] -= 1000.0
    _, gradient, _ = learner.meta_gradient(pre, post)
    torch.testing.assert_close(gradient, expected)
    assert learner.meta_loss_and_kl(moved(learner), pre, post, old) == expected_values


# With an environment ----------------------------------------------------------------------------


def make_sampler(**settings: Any) -> tuple[MAMLTRPO, Sampler]:
    family = PointNavigation()
    family.horizon = 5
    policy = make_policy(family.observation_space, family.action_space, (4,))
    env = TaskVectorEnv(family, 2, episodes=3)
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "none"))
    config = MAMLTRPOConfig(**settings)
    begin(sampler)
    return MAMLTRPO(policy, config, np.random.default_rng(0)), sampler


def begin(sampler: Sampler) -> None:
    sampler.begin(Tasks({"goal": [[0.4, 0.3], [-0.2, 0.4]]}), "train", 0, 0)


def test_prepared_samples_carry_the_log_probabilities_of_the_policies_that_drew_them():
    learner, sampler = make_sampler(tasks_per_chunk=1)
    policies = stack(learner.parameters, 2)
    policies["bias1"] = torch.tensor([[0.5, 0.0], [0.0, -0.5]])
    batch = learner.prepare(sampler.collect(policies), policies)
    for task in range(2):
        policy = reference_policy(select(policies, task), batch.observations[task])
        expected = log_prob(policy, batch.actions[task])
        torch.testing.assert_close(batch.log_probs[task], expected)
    assert not batch.log_probs.requires_grad


def test_adaptation_yields_a_rollout_before_and_after_every_step_with_its_own_rate():
    learner, sampler = make_sampler()
    initial = to_vector(learner.parameters).clone()
    found = list(learner.adaptation(sampler, 3, rates=[0.5, 0.25]))

    begin(sampler)
    policies = stack(learner.parameters, 2)
    expected = [sampler.collect(policies)]
    for rate in (0.5, 0.25, 0.25):
        batch = learner.prepare(expected[-1], policies)
        policies = learner.adapt_in_chunks(policies, batch, rate)
        expected.append(sampler.collect(policies))

    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.actions, other.actions)
        assert torch.equal(one.rewards, other.rewards)
    assert torch.equal(to_vector(learner.parameters), initial)


def test_adaptation_uses_the_inner_learning_rate_unless_told_otherwise():
    learner, sampler = make_sampler(inner_learning_rate=0.5)
    default = list(learner.adaptation(sampler, 2))[-1].actions
    begin(sampler)
    same = list(learner.adaptation(sampler, 2, rates=[0.5]))[-1].actions
    begin(sampler)
    other = list(learner.adaptation(sampler, 2, rates=[0.4]))[-1].actions
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_meta_update_reports_returns_before_the_first_and_after_the_last_inner_step(inner_steps):
    learner, sampler = make_sampler(inner_steps=inner_steps)
    twin, twin_sampler = make_sampler(inner_steps=inner_steps)
    rollouts = list(twin.adaptation(twin_sampler, inner_steps))
    metrics = learner.meta_update(sampler)
    before, after = (float(rollouts[i].returns.mean()) for i in (0, -1))
    assert metrics["train/return_pre"] == before
    assert metrics["train/return_post"] == after
    assert metrics["train/adaptation_gain"] == after - before
    assert metrics["train/failed_episodes"] == 0.0
    assert metrics["loss/accepted"] == 1.0
    assert sampler.environment_steps == (inner_steps + 1) * 2 * 3 * 5


# State and settings -----------------------------------------------------------------------------


@actions
def test_state_survives_a_file_bit_for_bit(discrete):
    learner, pre, post = make_problem(discrete=discrete)
    learner.outer_step(pre, post)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = make_problem(discrete=discrete, seed=5)[0]
    assert not torch.equal(to_vector(other.parameters), to_vector(learner.parameters))

    other.load_state_dict(torch.load(file, weights_only=True))

    assert list(other.parameters) == list(learner.parameters)
    assert torch.equal(to_vector(other.parameters), to_vector(learner.parameters))
    assert other.outer_step(pre, post) == learner.outer_step(pre, post)
    assert torch.equal(to_vector(other.parameters), to_vector(learner.parameters))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inner_steps", 0),
        ("cg_iterations", 0),
        ("line_search_steps", 0),
        ("tasks_per_chunk", 0),
        ("inner_learning_rate", 0.0),
        ("inner_learning_rate", -0.1),
        ("max_kl", 0.0),
        ("max_kl", math.nan),
        ("discount", 1.01),
        ("discount", -0.1),
        ("gae_lambda", 2.0),
        ("line_search_decay", 1.5),
        ("fisher_task_fraction", 0.0),
        ("fisher_task_fraction", 1.1),
        ("fisher_sample_fraction", 0.0),
        ("fisher_sample_fraction", -1.0),
        ("cg_damping", -1e-9),
        ("sampling_correction", -0.5),
    ],
)
def test_impossible_settings_are_refused_by_name(key, value):
    with pytest.raises(InvalidValue, match=f"^{key} must .* got {value}") as refusal:
        MAMLTRPOConfig(**{key: value})
    assert refusal.value.key == key


@pytest.mark.parametrize(
    "settings",
    [
        {"discount": 0.0},
        {"discount": 1.0},
        {"gae_lambda": 0.0},
        {"cg_damping": 0.0},
        {"fisher_task_fraction": 1.0},
        {"inner_steps": 1},
    ],
)
def test_settings_at_their_limits_are_allowed(settings):
    MAMLTRPOConfig(**settings)


# GPU --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@actions
def test_cuda_outer_step_is_that_of_the_cpu(discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=2)
    gpu = make_problem(discrete=discrete, inner_steps=2, device="cuda")[0]
    metrics = learner.outer_step(pre, post)
    gpu_metrics = gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
    assert all(value.is_cuda for value in gpu.parameters.values())
    assert not any(value.is_cuda for value in gpu.state_dict()["parameters"].values())
    assert gpu_metrics == pytest.approx(metrics, rel=1e-8, abs=1e-10)
    torch.testing.assert_close(
        to_vector(gpu.parameters).cpu(), to_vector(learner.parameters), rtol=1e-8, atol=1e-10
    )
