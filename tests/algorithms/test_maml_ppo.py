"""MAML-PPO: the clipped meta-objective, Adam, and the state of both."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metarl.algorithms.maml_ppo import MAMLPPO, MAMLPPOConfig
from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.optimization import from_vector, to_vector
from metarl.policies import Parameters
from metarl.sampling import Batch
from metarl.validation import InvalidValue
from metarl.workers import Workers
from tests.algorithms import small_problem
from tests.algorithms.small_problem import (
    TASKS,
    as_leaves,
    at,
    emptied,
    finite_differences,
    moved,
    reference_meta_loss,
    reference_post_update,
    reference_ratio,
    reference_sampling_loss,
    vector_of,
)

SETTINGS: dict[str, Any] = {"inner_learning_rate": 0.5, "tasks_per_chunk": 2, "clip": 0.1}

steps, actions = small_problem.steps, small_problem.actions


make_problem = small_problem.maker(MAMLPPO, MAMLPPOConfig, SETTINGS)


def set_parameters(learner: MAMLPPO, parameters: Parameters) -> None:
    with torch.no_grad():
        for name, value in learner.parameters.items():
            value.copy_(parameters[name])


def reference_clipped_loss(
    learner: MAMLPPO, parameters: Parameters, pre: list[Batch], post: Batch
) -> Tensor:
    """-E[min(ratio * A, clip(ratio) * A)], sample by sample."""
    low, high = 1.0 - learner.config.clip, 1.0 + learner.config.clip
    losses = []
    for task in range(len(post)):
        policy = reference_post_update(learner, parameters, pre, task)
        ratios = reference_ratio(policy, post, task)
        for ratio, gain, weight in zip(
            ratios, post.advantages[task], post.weights[task], strict=True
        ):
            # A good action counts up to 1 + clip, a bad one down to 1 - clip.
            beyond = ratio > high if gain > 0 else ratio < low
            counted = ratio.new_tensor(high if gain > 0 else low) if beyond else ratio
            losses.append(-counted * gain * weight)
    return torch.stack(losses).sum() / len(post)


# The clipped meta-objective ---------------------------------------------------------------------


@actions
@steps
def test_meta_gradient_is_that_of_finite_differences(inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=inner_steps)
    set_parameters(learner, moved(learner))  # where many ratios are clipped
    ratios = torch.stack([all_ratios(learner, pre, post, task) for task in range(TASKS)])
    assert 4 <= int(((ratios - 1.0).abs() > 0.1).sum()) < ratios.numel()

    def meta_loss(vector: Tensor) -> float:
        return reference_clipped_loss(learner, at(learner, vector), pre, post).item()

    value, gradients = learner.meta_gradient(pre, post)
    point = vector_of(learner)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    assert value == pytest.approx(learner.evaluate(pre, post), abs=1e-12)
    gradient = to_vector(gradients)
    assert gradient.norm() > 0.05
    torch.testing.assert_close(gradient, finite_differences(meta_loss, point), atol=1e-8, rtol=0.0)


def all_ratios(learner: MAMLPPO, pre: list[Batch], post: Batch, task: int) -> Tensor:
    policy = reference_post_update(learner, as_leaves(learner.parameters), pre, task)
    return reference_ratio(policy, post, task).detach()


@actions
@steps
@pytest.mark.parametrize("first_order", [False, True])
def test_first_meta_gradient_is_that_of_maml_trpo(first_order, inner_steps, discrete):
    # Every ratio is 1: nothing is clipped.
    settings: dict[str, Any] = {"inner_learning_rate": 0.5, "inner_steps": inner_steps}
    settings["first_order"] = first_order
    learner, pre, post = make_problem(discrete=discrete, **settings)
    for task in range(TASKS):
        ratios = all_ratios(learner, pre, post, task)
        torch.testing.assert_close(ratios, torch.ones_like(ratios))
    config = MAMLTRPOConfig(**settings)
    trpo = small_problem.make_problem(MAMLTRPO, config, discrete=discrete)[0]
    expected_loss, expected, _ = trpo.meta_gradient(pre, post)
    loss, gradients = learner.meta_gradient(pre, post)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    torch.testing.assert_close(to_vector(gradients), expected, atol=1e-12, rtol=0.0)


@steps
def test_first_order_leaves_the_derivative_of_the_inner_gradient_out(inner_steps):
    learner, pre, post = make_problem(first_order=True, inner_steps=inner_steps)
    set_parameters(learner, moved(learner))
    leaves = as_leaves(learner.parameters)
    loss = reference_clipped_loss(learner, leaves, pre, post)
    expected = to_vector(torch.autograd.grad(loss, list(leaves.values())))
    gradient = to_vector(learner.meta_gradient(pre, post)[1])
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0.0)
    second_order = make_problem(inner_steps=inner_steps)[0]
    set_parameters(second_order, learner.parameters)
    assert (gradient - to_vector(second_order.meta_gradient(pre, post)[1])).norm() > 0.01


@pytest.mark.parametrize(
    ("shift", "advantage", "moves"),
    [
        (0.2, 1.0, False),  # a good action, already more likely than 1 + clip
        (0.2, -1.0, True),  # a bad one, more likely than it was: back with it
        (-0.2, 1.0, True),  # a good one, less likely than it was
        (-0.2, -1.0, False),  # a bad one, already less likely than 1 - clip
        (0.05, 1.0, True),  # within the range
        (-0.05, -1.0, True),
    ],
)
def test_clip_stops_the_gradient_where_the_ratio_has_gone_far_enough(shift, advantage, moves):
    # The ratio of every sample is exp(shift); exp(0.2) = 1.22 and exp(-0.2) = 0.82.
    learner, pre, post = make_problem()
    post = replace(
        post,
        log_probs=post.log_probs - shift,
        advantages=torch.full_like(post.advantages, advantage),
    )
    loss, gradients = learner.meta_gradient(pre, post)
    ratio = math.exp(shift) if moves else 1.0 + math.copysign(0.1, shift)
    assert loss == pytest.approx(-ratio * advantage, abs=1e-12)
    assert (float(to_vector(gradients).norm()) > 1e-3) == moves


@actions
def test_sampling_correction_adds_the_gradient_of_the_first_samples_likelihood(discrete):
    learner, pre, post = make_problem(discrete=discrete, sampling_correction=0.7)
    set_parameters(learner, moved(learner))

    def meta_loss(vector: Tensor) -> float:
        parameters = at(learner, vector)
        clipped = reference_clipped_loss(learner, parameters, pre, post)
        return (clipped + 0.7 * reference_sampling_loss(parameters, pre, post)).item()

    value, gradients = learner.meta_gradient(pre, post)
    point = vector_of(learner)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    expected = finite_differences(meta_loss, point)
    torch.testing.assert_close(to_vector(gradients), expected, atol=1e-8, rtol=0.0)


# The outer step ---------------------------------------------------------------------------------


def test_first_adam_step_moves_every_parameter_by_the_learning_rate_against_its_gradient():
    # m / sqrt(v) is the sign of the gradient in Adam's first step, but for its epsilon of 1e-8.
    learner, pre, post = make_problem(outer_steps=1, outer_learning_rate=0.01)
    before = vector_of(learner)
    gradient = to_vector(learner.meta_gradient(pre, post)[1])
    metrics = learner.outer_step(pre, post)
    expected = before - 0.01 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(vector_of(learner), expected, atol=1e-12, rtol=0.0)
    assert metrics["loss/gradient_norm"] == pytest.approx(float(gradient.norm()), abs=1e-12)


@actions
@steps
def test_outer_steps_lower_the_meta_loss_that_they_report(inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=inner_steps)
    before = -float((post.advantages * post.weights).sum() / TASKS)
    metrics = learner.outer_step(pre, post)
    after = reference_clipped_loss(learner, as_leaves(learner.parameters), pre, post).item()
    assert metrics["loss/meta_before"] == pytest.approx(before, abs=1e-12)
    assert metrics["loss/meta_after"] == pytest.approx(after, abs=1e-12)
    assert after < before


def test_without_clipping_the_loss_is_maml_trpos_surrogate_everywhere():
    learner, pre, post = make_problem(clip=1e6)
    set_parameters(learner, moved(learner))
    leaves = as_leaves(learner.parameters)
    expected = reference_meta_loss(learner, leaves, pre, post).item()
    assert learner.evaluate(pre, post) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 5])
def test_chunk_size_changes_no_result(size):
    learner, pre, post = make_problem(tasks=5, tasks_per_chunk=size)
    other = make_problem(tasks=5, tasks_per_chunk=3)[0]
    metrics, expected = (one.outer_step(pre, post) for one in (learner, other))
    assert metrics == pytest.approx(expected, abs=1e-10)
    torch.testing.assert_close(vector_of(learner), vector_of(other))


def test_number_of_worker_threads_changes_no_bit():
    results = []
    for threads in (1, 2, 3):
        learner, pre, post = make_problem(tasks=7, tasks_per_chunk=1, workers=Workers(threads))
        results.append((learner.outer_step(pre, post), vector_of(learner)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


@actions
def test_nothing_moves_when_every_sample_of_every_task_failed(discrete):
    learner, pre, post = make_problem(discrete=discrete)
    before = vector_of(learner)
    everyone = slice(None)
    metrics = learner.outer_step(
        [emptied(batch, everyone) for batch in pre], emptied(post, everyone)
    )
    assert all(math.isfinite(value) for value in metrics.values())
    assert torch.equal(vector_of(learner), before)


def test_sample_that_did_not_take_place_cannot_overflow_the_likelihood_ratio():
    # Its weight is 0, but 0 * inf is NaN: exp(1000) overflows.
    learner, pre, post = make_problem()
    expected = learner.meta_gradient(pre, post)
    for batch in (*pre, post):
        batch.log_probs[:, -1] -= 1000.0
    value, gradients = learner.meta_gradient(pre, post)
    assert value == expected[0]
    torch.testing.assert_close(to_vector(gradients), to_vector(expected[1]))


# State and settings -----------------------------------------------------------------------------


@actions
def test_state_survives_a_file_with_adams_moments_bit_for_bit(discrete):
    learner, pre, post = make_problem(discrete=discrete)
    learner.outer_step(pre, post)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = make_problem(discrete=discrete, seed=5)[0]
    other.outer_step(pre, post)  # moments of its own, to be replaced
    assert not torch.equal(vector_of(other), vector_of(learner))

    other.load_state_dict(torch.load(file, weights_only=True))

    assert torch.equal(vector_of(other), vector_of(learner))
    for _ in range(2):
        assert other.outer_step(pre, post) == learner.outer_step(pre, post)
        assert torch.equal(vector_of(other), vector_of(learner))
    forgetful = make_problem(discrete=discrete, seed=5)[0]
    set_parameters(forgetful, from_vector(vector_of(learner), learner.parameters))
    forgetful.outer_step(pre, post)
    learner.outer_step(pre, post)
    assert not torch.equal(vector_of(forgetful), vector_of(learner))


def test_saved_state_stays_what_it_was_while_training_goes_on():
    learner, pre, post = make_problem()
    learner.outer_step(pre, post)
    state, point = learner.state_dict(), vector_of(learner)
    moments = state["optimizer"]["state"][0]["exp_avg"]
    before = moments.clone()
    learner.outer_step(pre, post)
    assert not torch.equal(vector_of(learner), point)
    assert torch.equal(to_vector(state["parameters"]), point)
    assert not any(value.requires_grad for value in state["parameters"].values())
    assert torch.equal(moments, before)

    learner.load_state_dict(state)
    learner.outer_step(pre, post)
    assert torch.equal(to_vector(state["parameters"]), point)
    assert torch.equal(moments, before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("outer_steps", 0),
        ("outer_learning_rate", 0.0),
        ("outer_learning_rate", math.inf),
        ("clip", 0.0),
        ("clip", -0.2),
        ("inner_steps", 0),
    ],
)
def test_impossible_settings_are_refused_by_name(key, value):
    with pytest.raises(InvalidValue, match=f"^{key} must .* got {value}") as refusal:
        MAMLPPOConfig(**{key: value})
    assert refusal.value.key == key


# GPU --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@actions
def test_cuda_outer_step_is_that_of_the_cpu(discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=2)
    gpu = make_problem(discrete=discrete, inner_steps=2, device="cuda")[0]
    metrics = learner.outer_step(pre, post)
    gpu_metrics = gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
    assert all(value.is_cuda for value in gpu.parameters.values())
    assert gpu_metrics == pytest.approx(metrics, rel=1e-8, abs=1e-10)
    torch.testing.assert_close(vector_of(gpu).cpu(), vector_of(learner), rtol=1e-8, atol=1e-10)
    state = gpu.state_dict()
    assert not state["optimizer"]["state"][0]["exp_avg"].is_cuda
    gpu.load_state_dict(state)
    gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
