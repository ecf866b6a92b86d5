"""ProMP: the KL penalty on the policies before adaptation, and how its weight changes."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from metarl.algorithms.maml_ppo import MAMLPPO, MAMLPPOConfig
from metarl.algorithms.promp import ProMP, ProMPConfig
from metarl.optimization import to_vector
from metarl.policies import Parameters
from metarl.sampling import Batch
from metarl.validation import InvalidValue
from metarl.workers import Workers
from tests.algorithms import small_problem
from tests.algorithms.small_problem import (
    TASKS,
    as_leaves,
    at,
    finite_differences,
    moved,
    reference_meta_loss,
    reference_policy,
    reference_stages,
    vector_of,
)

# Without clipping, which has its own tests, the penalty alone tells ProMP from MAML-TRPO.
SETTINGS: dict[str, Any] = {"inner_learning_rate": 0.5, "tasks_per_chunk": 2, "kl_penalty": 0.8}

steps, actions = small_problem.steps, small_problem.actions


make_problem = small_problem.maker(ProMP, ProMPConfig, SETTINGS)


def reference_kl(
    learner: ProMP, old: Parameters, new: Parameters, pre: list[Batch]
) -> tuple[Tensor, Tensor]:
    """KL(old || new) before each inner step: summed over steps, averaged over tasks."""
    kls = []
    for task in range(TASKS):
        both = (reference_stages(learner, each, pre, task) for each in (old, new))
        for batch, *stages in zip(pre, *both, strict=False):
            first, second = (reference_policy(s, batch.observations[task]) for s in stages)
            kls.append((kl_divergence(first, second) * batch.weights[task]).sum())
    total = torch.stack(kls).sum() / TASKS
    return total, total / len(pre)


def meta_gradient_from(
    learner: ProMP, old: Parameters, pre: list[Batch], post: Batch
) -> tuple[float, Tensor]:
    """The meta-gradient in an outer step that began at the parameters `old`."""
    found: list[tuple[float, list[Tensor]]] = []
    here = {name: value.detach().clone() for name, value in learner.parameters.items()}
    real = learner.meta_gradient

    def from_here(pre: Sequence[Batch], post: Batch) -> tuple[float, list[Tensor]]:
        learner.load_state_dict({**learner.state_dict(), "parameters": here})
        found.append(real(pre, post))
        return found[-1]

    learner.load_state_dict({**learner.state_dict(), "parameters": old})
    learner.meta_gradient = from_here
    learner.outer_step(pre, post)
    return found[0][0], to_vector(found[0][1])


# The penalty ------------------------------------------------------------------------------------


@actions
@steps
def test_gradient_of_the_penalised_loss_is_that_of_finite_differences(inner_steps, discrete):
    learner, pre, post = make_problem(
        discrete=discrete, inner_steps=inner_steps, clip=1e6, outer_steps=1
    )
    old = {name: value.detach().clone() for name, value in learner.parameters.items()}
    learner.load_state_dict({**learner.state_dict(), "parameters": moved(learner)})
    point = vector_of(learner)

    def penalised_loss(vector: Tensor) -> float:
        parameters = at(learner, vector)
        kl, _ = reference_kl(learner, as_leaves(old), parameters, pre)
        return (reference_meta_loss(learner, parameters, pre, post) + 0.8 * kl).item()

    def plain_loss(vector: Tensor) -> float:
        return reference_meta_loss(learner, at(learner, vector), pre, post).item()

    expected = finite_differences(penalised_loss, point)
    assert (expected - finite_differences(plain_loss, point)).norm() > 0.05
    expected_value = penalised_loss(point)
    value, gradient = meta_gradient_from(learner, old, pre, post)
    assert value == pytest.approx(expected_value, abs=1e-12)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=0.0)


@actions
@steps
def test_first_gradient_knows_no_penalty(inner_steps, discrete):
    # KL(old || new) and its gradient are 0 at new = old: the first step is that of MAML-PPO.
    learner, pre, post = make_problem(discrete=discrete, inner_steps=inner_steps, outer_steps=1)
    config = MAMLPPOConfig(inner_learning_rate=0.5, inner_steps=inner_steps, outer_steps=1)
    other = small_problem.make_problem(MAMLPPO, config, discrete=discrete)[0]
    metrics, expected = (one.outer_step(pre, post) for one in (learner, other))
    for name in ("loss/meta_before", "loss/gradient_norm"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-12)
    torch.testing.assert_close(vector_of(learner), vector_of(other), atol=1e-9, rtol=0.0)


@actions
@steps
def test_outer_step_reports_the_kl_that_it_caused(inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=inner_steps)
    old = {name: value.detach().clone() for name, value in learner.parameters.items()}
    metrics = learner.outer_step(pre, post)
    total, mean = reference_kl(learner, as_leaves(old), as_leaves(learner.parameters), pre)
    assert metrics["loss/kl_pre"] == pytest.approx(mean.item(), abs=1e-12)
    assert mean.item() > 1e-6
    plain = MAMLPPO.clipped_loss
    loss = 0.8 * total.item()
    for task in range(TASKS):
        policies = learner.policies(learner.parameters, pre, slice(task, task + 1), False)[-1]
        loss += float(plain(learner, policies, post[task : task + 1]).detach()) / TASKS
    assert metrics["loss/meta_after"] == pytest.approx(loss, abs=1e-12)


def test_strong_penalty_keeps_the_initial_policy_near_the_old_one():
    kls = []
    for penalty in (0.0, 100.0):
        learner, pre, post = make_problem(
            kl_penalty=penalty, outer_steps=20, outer_learning_rate=0.01
        )
        kls.append(learner.outer_step(pre, post)["loss/kl_pre"])
    assert kls[1] < 0.2 * kls[0]


# Its weight -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "weight"),
    [(0.0301, 0.4), (0.0299, 0.2), (0.02, 0.2), (0.0134, 0.2), (0.0133, 0.1), (0.0, 0.1)],
)
def test_weight_doubles_above_three_halves_of_the_target_and_halves_below_two_thirds(
    kl, weight, monkeypatch
):
    # target 0.02: more than 0.03, less than 0.01333...
    learner, pre, post = make_problem(kl_penalty=0.2, kl_target=0.02, outer_steps=1)
    pieces = len(learner.chunks(TASKS))
    share = torch.tensor(kl * TASKS / pieces, dtype=torch.float64)
    monkeypatch.setattr(learner, "_kl", lambda *_: share)
    metrics = learner.outer_step(pre, post)
    assert metrics["loss/kl_pre"] == pytest.approx(kl, abs=1e-15)
    assert metrics["loss/kl_penalty"] == 0.2  # that of this iteration
    assert learner.kl_penalty == weight


def test_weight_stays_without_a_target():
    learner, pre, post = make_problem(outer_learning_rate=0.05)
    assert learner.outer_step(pre, post)["loss/kl_pre"] > 0.01
    assert learner.kl_penalty == 0.8


# Threads, state and settings --------------------------------------------------------------------


@steps
def test_number_of_worker_threads_changes_no_bit(inner_steps):
    results = []
    for threads in (1, 2, 3):
        learner, pre, post = make_problem(
            tasks=7, tasks_per_chunk=1, workers=Workers(threads), inner_steps=inner_steps
        )
        results.append((learner.outer_step(pre, post), vector_of(learner)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


@actions
def test_state_survives_a_file_with_the_weight_bit_for_bit(discrete):
    settings: dict[str, Any] = {"discrete": discrete, "kl_target": 1e-9}
    learner, pre, post = make_problem(**settings)
    learner.outer_step(pre, post)
    assert learner.kl_penalty == 1.6
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = make_problem(seed=5, **settings)[0]

    other.load_state_dict(torch.load(file, weights_only=True))

    assert set(other.state_dict()) == {"parameters", "optimizer", "kl_penalty"}
    for _ in range(2):
        assert other.outer_step(pre, post) == learner.outer_step(pre, post)
        assert torch.equal(vector_of(other), vector_of(learner))
    assert other.kl_penalty == learner.kl_penalty == 6.4


def test_first_order_step_differs_and_lowers_the_loss():
    learner, pre, post = make_problem(first_order=True)
    metrics = learner.outer_step(pre, post)
    assert metrics["loss/meta_after"] < metrics["loss/meta_before"]
    second_order = make_problem()[0]
    second_order.outer_step(pre, post)
    assert (vector_of(learner) - vector_of(second_order)).norm() > 1e-4


@pytest.mark.parametrize(
    ("key", "value"), [("kl_penalty", -1.0), ("kl_target", 0.0), ("kl_target", -0.01)]
)
def test_impossible_settings_are_refused_by_name(key, value):
    with pytest.raises(InvalidValue, match=f"^{key} must .* got {value}") as refusal:
        ProMPConfig(**{key: value})
    assert refusal.value.key == key


# GPU --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@actions
def test_cuda_outer_step_is_that_of_the_cpu(discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=2)
    gpu = make_problem(discrete=discrete, inner_steps=2, device="cuda")[0]
    metrics = learner.outer_step(pre, post)
    gpu_metrics = gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
    assert gpu_metrics == pytest.approx(metrics, rel=1e-8, abs=1e-10)
    torch.testing.assert_close(vector_of(gpu).cpu(), vector_of(learner), rtol=1e-8, atol=1e-10)
