"""Stacked PPO: the loss by hand and by finite differences, and K learners that are as K alone."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence

from metarl.algorithms.ppo import (
    ActorCritic,
    Penalized,
    PPOConfig,
    Samples,
    StackedPPO,
    UpdateRule,
    clip_gradients,
    minibatches,
)
from metarl.optimization import from_vector, to_vector
from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, Parameters, stack
from metarl.sampling import Trajectories
from metarl.tasks.streams import stream
from metarl.validation import InvalidValue
from metarl.workers import Workers

TASKS, EPISODES, STEPS = 3, 4, 6
BASELINES = ("network", "linear")
actions = pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """As in a run, where parallelism is over tasks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Two states by hand -----------------------------------------------------------------------------
#
# State 0 is observed as (1, 0), state 1 as (0, 1). The policy is linear: two logits for each state.
# The value function is linear in (observation, t / T).


def two_state(**settings: Any) -> ActorCritic:
    return ActorCritic(CategoricalPolicy(MLP((2, 2))), PPOConfig(**settings))


def zeros() -> Parameters:
    """One task; both actions have probability 1/2 and all values are 0."""
    shapes = {"weight0": (2, 2), "bias0": (2,), "value.weight0": (3, 1), "value.bias0": (1,)}
    return {name: torch.zeros(1, *shape, dtype=torch.float64) for name, shape in shapes.items()}


def samples(old: list[float], advantages: list[float], **values: Any) -> Samples:
    """State 0 at t = 0 with action 0, whose old probability was `old`, for each sample."""
    count = len(old)
    inputs = torch.tensor([[[1.0, 0.0, 0.0]] * count], dtype=torch.float64)
    fields: dict[str, Any] = {
        "inputs": inputs,
        "actions": torch.zeros(1, count, 1, dtype=torch.int64),
        "advantages": torch.tensor([advantages], dtype=torch.float64),
        "targets": torch.zeros(1, count, dtype=torch.float64),
        "weights": torch.ones(1, count, dtype=torch.float64),
        "log_probs": torch.tensor([old], dtype=torch.float64).log(),
    }
    return Samples(**(fields | values))


@pytest.mark.parametrize(
    ("old", "advantage", "gain", "slope"),
    [
        (0.4, 1.0, 1.2, 0.0),  # ratio 1.25: it gains no more than 1.2
        (0.4, -1.0, -1.25, -1.25),  # too likely already, and bad: counts in full
        (0.8, 1.0, 0.625, 0.625),  # ratio 0.625, good: counts in full
        (0.8, -1.0, -0.8, 0.0),  # unlikely enough
        (0.5, 1.0, 1.0, 1.0),  # ratio 1
        (0.5, -1.0, -1.0, -1.0),
    ],
)
def test_clip_cuts_where_the_ratio_has_gone_far_enough(
    old: float, advantage: float, gain: float, slope: float
) -> None:
    actor_critic, parameters = two_state(baseline="linear"), zeros()
    parameters["bias0"].requires_grad_()
    losses = actor_critic.losses(parameters, samples([old], [advantage]))
    assert losses["policy"].item() == pytest.approx(-gain, abs=1e-12)
    assert losses["total"].item() == pytest.approx(-gain, abs=1e-12)
    (gradient,) = torch.autograd.grad(losses["total"].sum(), [parameters["bias0"]])
    # d ratio / d logit_0 = ratio * (1 - 1/2)
    assert gradient.tolist() == [pytest.approx([-slope / 2, slope / 2], abs=1e-12)]


def test_parts_of_the_loss_by_hand() -> None:
    # Ratios 1.25, 1, 0.625 and one sample that did not take place.
    actor_critic = two_state(entropy_bonus=0.1, value_weight=0.25)
    parameters = zeros()
    parameters["value.bias0"] += 3.0
    some = samples(
        [0.4, 0.5, 0.8, 0.01],
        [1.0, 2.0, -1.0, 100.0],
        targets=torch.tensor([[1.0, 2.0, 3.0, 1e9]], dtype=torch.float64),
        weights=torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64),
    )
    losses = {name: value.item() for name, value in actor_critic.losses(parameters, some).items()}
    policy = -(1.2 + 2.0 - 0.8) / 3
    value = (4.0 + 1.0 + 0.0) / 3
    kl = (0.25 - math.log(1.25) - 0.375 - math.log(0.625)) / 3
    expected = {"policy": policy, "entropy": math.log(2.0), "value": value, "kl": kl}
    expected["total"] = policy - 0.1 * math.log(2.0) + 0.25 * value
    assert losses == pytest.approx(expected, abs=1e-12)


def test_value_targets_and_advantages_by_hand() -> None:
    # V = 10 * (0.1 + 0.2 t / T): 1 at t = 0 and 2 at t = 1. discount * lambda = 1/4.
    # Episode 1, rewards 1, 2: deltas 1 + 2/2 - 1 = 1 and 2 - 2 = 0; advantages 1, 0.
    # Episode 2 ends after its first reward, 3: delta and advantage 3 - 1 = 2.
    # Mean 1, standard deviation sqrt(2/3).
    actor_critic = two_state(discount=0.5, gae_lambda=0.5, value_scale=10.0)
    parameters = zeros()
    parameters["value.bias0"] += 0.1
    parameters["value.weight0"][0, 2] = 0.2
    parameters["bias0"] += torch.tensor([math.log(3.0), 0.0], dtype=torch.float64)
    mask = torch.tensor([[[True, True], [True, False]]])
    trajectories = Trajectories(
        observations=torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2) * mask.unsqueeze(-1),
        actions=torch.tensor([[[[0], [1]], [[1], [0]]]]),
        rewards=torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]),
        mask=mask,
        terminated=torch.tensor([[False, True]]),
        failed=torch.tensor([[False, False]]),
    )
    found = actor_critic.prepare(parameters, trajectories)
    unit = math.sqrt(1.5)
    assert found.weights.tolist() == [[1.0, 1.0, 1.0, 0.0]]
    assert found.advantages[0].tolist() == pytest.approx([0.0, -unit, unit, 0.0], abs=1e-7)
    # the returns that the advantages stand for, over 10: 1 + 1, 2 + 0, 1 + 2
    assert found.targets[0, :3].tolist() == pytest.approx([0.2, 0.2, 0.3], abs=1e-12)
    assert found.log_probs[0, :3].exp().tolist() == pytest.approx([0.75, 0.25, 0.25], abs=1e-12)
    assert found.inputs[0, :, 2].tolist() == [0.0, 0.5, 0.0, 0.5]


# Against finite differences ---------------------------------------------------------------------


def make_learners(
    tasks: int = TASKS, discrete: bool = False, dtype: torch.dtype = torch.float64, **settings: Any
) -> tuple[ActorCritic, Parameters]:
    """Actor and critic with one hidden layer, and different parameters `[K, ...]`."""
    plain = MLP((3, 4, 3 if discrete else 2))
    policy = CategoricalPolicy(plain) if discrete else GaussianPolicy(plain, initial_std=0.7)
    actor_critic = ActorCritic(policy, PPOConfig(**settings))
    draws = [actor_critic.initial_parameters(np.random.default_rng(task)) for task in range(tasks)]
    stacked = {name: torch.stack([d[name] for d in draws]).to(dtype) for name in draws[0]}
    return actor_critic, stacked


@torch.no_grad()
def roll_out(
    actor_critic: ActorCritic, parameters: Parameters, seed: int = 0, failed_task: int | None = None
) -> Trajectories:
    """Episodes of random observations and rewards that end early here and there."""
    tasks = len(parameters["bias0"])
    draws = [np.random.default_rng([seed, task]) for task in range(tasks)]
    lead, dtype = (EPISODES, STEPS), parameters["bias0"].dtype
    observations = np.stack([draw.standard_normal((*lead, 3)) for draw in draws])
    rewards = np.stack([draw.standard_normal(lead) for draw in draws])
    ends = np.stack([draw.integers(2, STEPS + 1, EPISODES) for draw in draws])
    if failed_task is not None:
        ends[failed_task] = 0
    policy = actor_critic.policy
    noise = torch.stack([policy.draw_noise(d, (*lead, policy.action_size)) for d in draws])
    mask = torch.from_numpy(np.arange(STEPS) < ends[..., None])
    seen = torch.from_numpy(observations).to(dtype) * mask.unsqueeze(-1)
    acted = policy.act(parameters, seen.flatten(1, 2), noise.to(dtype).flatten(1, 2))
    acted = acted.view(tasks, *lead, -1) * mask.unsqueeze(-1)
    nothing = torch.zeros(tasks, EPISODES, dtype=torch.bool)
    return Trajectories(
        seen, acted, torch.from_numpy(rewards).float() * mask, mask, ~mask[..., -1], nothing
    )


def reference_loss(
    parameters: Parameters, data: Samples, config: PPOConfig, discrete: bool
) -> Tensor:
    """Sum over tasks, one sample at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for task in range(len(data.weights)):
        own = {name: value[task] for name, value in parameters.items()}
        present = [b for b in range(data.weights.shape[1]) if data.weights[task, b] > 0]
        for b in present:
            x = data.inputs[task, b]
            new = reference_policy(own, x[:3], discrete)
            action = data.actions[task, b, 0] if discrete else data.actions[task, b]
            ratio = float(new.log_prob(action) - data.log_probs[task, b])
            ratio, advantage = math.exp(ratio), float(data.advantages[task, b])
            clipped = min(max(ratio, 1 - config.clip), 1 + config.clip)
            loss = -min(ratio * advantage, clipped * advantage)
            loss -= config.entropy_bonus * float(new.entropy())
            hidden = torch.tanh(x @ own["value.weight0"] + own["value.bias0"])
            value = hidden @ own["value.weight1"] + own["value.bias1"]
            loss += config.value_weight * float((value - data.targets[task, b]) ** 2)
            total += loss / len(present)
    return total


def reference_policy(parameters: Parameters, observation: Tensor, discrete: bool) -> Distribution:
    hidden = torch.tanh(observation @ parameters["weight0"] + parameters["bias0"])
    outputs = hidden @ parameters["weight1"] + parameters["bias1"]
    if discrete:
        return Categorical(logits=outputs)
    return Independent(Normal(outputs, parameters["log_std"].exp()), 1)


@actions
def test_gradient_is_that_of_finite_differences(discrete: bool) -> None:
    # Away from the parameters that drew the samples, so that some ratios are clipped.
    actor_critic, old = make_learners(1, discrete, entropy_bonus=0.3, value_weight=0.7)
    data = actor_critic.prepare(old, roll_out(actor_critic, old))
    generator = torch.Generator().manual_seed(1)
    point = to_vector(old)
    point = point + 0.3 * torch.randn(len(point), generator=generator, dtype=point.dtype)
    new = {n: v.detach().requires_grad_() for n, v in from_vector(point, old).items()}
    total = actor_critic.losses(new, data)["total"].sum()
    gradient = to_vector(
        dict(zip(new, torch.autograd.grad(total, list(new.values())), strict=True))
    )

    def loss(vector: Tensor) -> float:
        return reference_loss(from_vector(vector, old), data, actor_critic.config, discrete).item()

    assert total.item() == pytest.approx(loss(point), abs=1e-10)
    ratios = torch.exp(
        actor_critic.policy.distribution(new, data.inputs[..., :3]).log_prob(data.actions)
        - data.log_probs
    )[data.weights > 0]
    assert (ratios > 1.2).any()
    assert (ratios < 0.8).any()
    units = 1e-6 * torch.eye(len(point), dtype=point.dtype)
    expected = torch.tensor([(loss(point + u) - loss(point - u)) / 2e-6 for u in units])
    torch.testing.assert_close(gradient, expected.double(), atol=1e-6, rtol=0.0)


@actions
@pytest.mark.parametrize("baseline", BASELINES)
def test_at_the_first_step_ratios_are_1_and_the_gradient_is_the_policy_gradient(
    baseline: Any, discrete: bool
) -> None:
    actor_critic, parameters = make_learners(discrete=discrete, baseline=baseline)
    data = actor_critic.prepare(parameters, roll_out(actor_critic, parameters))
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    losses = actor_critic.losses(leaves, data)
    assert losses["kl"].tolist() == [0.0] * TASKS
    assert losses["policy"].tolist() == pytest.approx([0.0] * TASKS, abs=1e-12)  # mean advantage
    weights = data.weights / data.weights.sum(dim=1, keepdim=True)
    score = actor_critic.policy.distribution(leaves, data.inputs[..., :3]).log_prob(data.actions)
    expected = -(score * data.advantages * weights).sum()
    names = ["weight0", "bias1"]
    values = [leaves[name] for name in names]
    found = torch.autograd.grad(losses["policy"].sum(), values)
    for one, other in zip(found, torch.autograd.grad(expected, values), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0.0)
        assert one.norm() > 1e-3


def test_kl_is_an_estimate_of_the_divergence_from_the_old_policy() -> None:
    # For two actions the mean over actions drawn in the old proportions is exact: 3 of 4 and 1.
    actor_critic, parameters = two_state(baseline="linear"), zeros()
    data = samples([0.75, 0.75, 0.75, 0.25], [0.0] * 4)
    data.actions[0, 3] = 1
    old, new = Categorical(torch.tensor([0.75, 0.25])), Categorical(torch.tensor([0.5, 0.5]))
    kl = actor_critic.losses(parameters, data)["kl"].item()
    assert kl == pytest.approx(kl_divergence(old, new).item(), abs=1e-6)


# Stacked is as separate -------------------------------------------------------------------------


def generators(tasks: range, update: int) -> list[np.random.Generator]:
    return [stream(0, "minibatches", update, task) for task in tasks]


def train(learners: StackedPPO, tasks: range, updates: range, **options: Any) -> list[Any]:
    """Updates on random episodes of the present policies; what they return."""
    every = TASKS if options.pop("separate", False) else None
    metrics = []
    for update in updates:
        present = learners.parameters
        if every:  # the same episodes as in the stack: draw for all, keep one
            present = stack({n: v[0] for n, v in present.items()}, every)
        trajectories = roll_out(learners.actor_critic, present, update, options.get("failed_task"))
        if every:
            trajectories = trajectories[tasks.start : tasks.stop]
        metrics.append(learners.update(trajectories, generators(tasks, update)))
    return metrics


SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "adam", "learning_rate": 0.01},
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "adam", "learning_rate": 0.01, "max_gradient_norm": 0.05},
    {"optimizer": "sgd", "learning_rate": 0.1, "max_gradient_norm": 0.05},
    {"optimizer": "sgd", "learning_rate": 0.1, "baseline": "linear", "entropy_bonus": 0.1},
]


def separately(
    actor_critic: ActorCritic, start: Parameters, updates: range = range(3)
) -> list[StackedPPO]:
    learners = []
    for task in range(TASKS):
        own = {name: value[task : task + 1] for name, value in start.items()}
        learners.append(StackedPPO(actor_critic, own))
        train(learners[-1], range(task, task + 1), updates, separate=True)
    return learners


@pytest.mark.parametrize("settings", SETTINGS)
def test_stacked_learners_are_bit_for_bit_as_separate_ones_in_chunks_of_one(
    settings: dict[str, Any],
) -> None:
    actor_critic, start = make_learners(dtype=torch.float32, tasks_per_chunk=1, **settings)
    stacked = StackedPPO(actor_critic, start)
    train(stacked, range(TASKS), range(3))
    for task, learner in enumerate(separately(actor_critic, start)):
        for name, value in learner.parameters.items():
            assert torch.equal(stacked.parameters[name][task], value[0]), name
            assert not torch.equal(start[name][task], value[0]), name


@actions
@pytest.mark.parametrize("settings", SETTINGS)
def test_stacked_learners_are_as_separate_ones(settings: dict[str, Any], discrete: bool) -> None:
    actor_critic, start = make_learners(discrete=discrete, tasks_per_chunk=2, **settings)
    stacked = StackedPPO(actor_critic, start)
    train(stacked, range(TASKS), range(3))
    for task, learner in enumerate(separately(actor_critic, start)):
        for name, value in learner.parameters.items():
            torch.testing.assert_close(
                stacked.parameters[name][task], value[0], atol=1e-9, rtol=0.0
            )


@pytest.mark.parametrize("size", [1, 2, 9])
def test_chunk_size_changes_no_result(size: int) -> None:
    actor_critic, start = make_learners(tasks_per_chunk=size, learning_rate=0.01)
    whole = make_learners(tasks_per_chunk=TASKS, learning_rate=0.01)[0]
    learners = [StackedPPO(one, start) for one in (actor_critic, whole)]
    metrics, expected = (train(one, range(TASKS), range(2)) for one in learners)
    for found, wanted in zip(metrics, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-9)
    vectors = [to_vector(one.parameters) for one in learners]
    torch.testing.assert_close(*vectors, atol=1e-9, rtol=0.0)


def test_number_of_worker_threads_changes_no_bit() -> None:
    results = []
    for threads in (1, 2, 3):
        actor_critic, start = make_learners(7, dtype=torch.float32, tasks_per_chunk=2)
        learners = StackedPPO(actor_critic, start, workers=Workers(threads))
        results.append((train(learners, range(7), range(2)), to_vector(learners.parameters)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


# The update -------------------------------------------------------------------------------------


def test_gradients_are_clipped_for_each_task_and_network() -> None:
    gradients = {
        "weight": torch.tensor([[[3.0, 0.0]], [[0.3, 0.0]]]),
        "bias": torch.tensor([[4.0], [0.4]]),
        "value.weight": torch.tensor([[30.0, 40.0], [0.0, 0.0]]),
    }
    clipped = clip_gradients(gradients, 2.5)
    torch.testing.assert_close(clipped["weight"], torch.tensor([[[1.5, 0.0]], [[0.3, 0.0]]]))
    torch.testing.assert_close(clipped["bias"], torch.tensor([[2.0], [0.4]]))
    torch.testing.assert_close(clipped["value.weight"], torch.tensor([[1.5, 2.0], [0.0, 0.0]]))
    assert clip_gradients(gradients, None) is gradients


def test_every_epoch_takes_every_sample_of_every_task_once_in_its_own_order() -> None:
    config = PPOConfig(epochs=2, minibatches=3)
    parts = list(minibatches(generators(range(2), 0), 10, config))
    assert [tuple(part.shape) for part in parts] == [(2, 4), (2, 3), (2, 3)] * 2
    epochs = torch.cat(parts[:3], dim=1), torch.cat(parts[3:], dim=1)
    for epoch in epochs:
        assert torch.equal(epoch.sort(dim=1).values, torch.arange(10).expand(2, 10))
        assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(*epochs)
    alone = list(minibatches(generators(range(1, 2), 0), 10, config))
    assert all(torch.equal(one[0], part[1]) for one, part in zip(alone, parts, strict=True))


def test_more_minibatches_than_samples_are_one_sample_each() -> None:
    parts = list(minibatches(generators(range(1), 0), 2, PPOConfig(epochs=1, minibatches=5)))
    assert [tuple(part.shape) for part in parts] == [(1, 1), (1, 1)]


PLAIN: dict[str, Any] = {"optimizer": "sgd", "epochs": 1, "minibatches": 1}
"""One step of gradient descent on all samples."""


def test_one_plain_step_is_the_gradient_times_the_rate() -> None:
    settings = {**PLAIN, "learning_rate": 0.2, "max_gradient_norm": None}
    actor_critic, start = make_learners(**settings)
    trajectories = roll_out(actor_critic, start)
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    total = actor_critic.losses(leaves, actor_critic.prepare(start, trajectories))["total"].sum()
    gradients = torch.autograd.grad(total, list(leaves.values()))
    learners = StackedPPO(actor_critic, start)
    metrics = learners.update(trajectories, generators(range(TASKS), 0))
    for (name, value), gradient in zip(start.items(), gradients, strict=True):
        expected = value - 0.2 * gradient
        torch.testing.assert_close(learners.parameters[name], expected, atol=1e-12, rtol=0.0)
    assert set(metrics) == {"loss/policy", "loss/value", "loss/entropy", "loss/kl"}
    assert metrics["loss/kl"] == 0.0


def test_learning_rate_can_change_and_keeps_what_adam_knows() -> None:
    actor_critic, start = make_learners(learning_rate=0.01)
    learners = StackedPPO(actor_critic, start)
    train(learners, range(TASKS), range(1))
    before = to_vector(learners.parameters)
    learners.set_learning_rate(1e-30)
    train(learners, range(TASKS), range(1, 2))
    torch.testing.assert_close(to_vector(learners.parameters), before, atol=1e-20, rtol=0.0)


def test_a_rule_changes_gradients_before_and_parameters_after_a_step() -> None:
    # Learner 1's gradients are dropped, learner 2 is put to 7 whatever the step did.
    settings = {**PLAIN, "learning_rate": 0.5, "max_gradient_norm": None}
    actor_critic, start = make_learners(**settings)
    trajectories = roll_out(actor_critic, start)

    class Rule(UpdateRule):
        def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice):
            kept = (torch.arange(TASKS)[rows] != 1).double()
            return {n: g * kept.view(-1, *[1] * (g.dim() - 1)) for n, g in gradients.items()}

        def after_step(self, parameters: Parameters, optimizer: object, rows: slice) -> None:
            for value in parameters.values():
                value.data[torch.arange(TASKS)[rows] == 2] = 7.0

    plain = StackedPPO(actor_critic, start)
    ruled = StackedPPO(actor_critic, start, parts=[slice(0, 1), slice(1, TASKS)])
    plain.update(trajectories, generators(range(TASKS), 0))
    ruled.update(trajectories, generators(range(TASKS), 0), Rule())
    for name, value in ruled.parameters.items():
        torch.testing.assert_close(value[0], plain.parameters[name][0], atol=1e-12, rtol=0.0)
        assert torch.equal(value[1], start[name][1])
        assert (value[2] == 7.0).all()


def test_a_penalty_is_added_to_the_losses_of_its_tasks() -> None:
    # Its gradient in bias0 is 0, 1, 2 for the three tasks, in whatever chunks they come.
    settings = {**PLAIN, "learning_rate": 0.5, "max_gradient_norm": None, "tasks_per_chunk": 2}
    actor_critic, start = make_learners(**settings)
    trajectories = roll_out(actor_critic, start)

    def penalty(parameters: Parameters, tasks: slice) -> Tensor:
        return (torch.arange(TASKS)[tasks].unsqueeze(1) * parameters["bias0"]).sum()

    plain, penalized = StackedPPO(actor_critic, start), StackedPPO(actor_critic, start)
    plain.update(trajectories, generators(range(TASKS), 0))
    penalized.update(trajectories, generators(range(TASKS), 0), Penalized(penalty))
    for name, value in plain.parameters.items():
        shift = 0.5 * torch.arange(TASKS).unsqueeze(1) if name == "bias0" else torch.zeros(())
        found = penalized.parameters[name]
        torch.testing.assert_close(found, value - shift, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_task_whose_every_sample_failed_stays_where_it_is(baseline: Any) -> None:
    actor_critic, start = make_learners(baseline=baseline, tasks_per_chunk=3, entropy_bonus=0.1)
    learners = StackedPPO(actor_critic, start)
    (metrics,) = train(learners, range(TASKS), range(1), failed_task=1)
    assert all(math.isfinite(value) for value in metrics.values())
    for name, value in learners.parameters.items():
        assert torch.equal(value[1], start[name][1]), name
        assert not torch.equal(value[0], start[name][0]), name


def test_a_sample_that_did_not_take_place_cannot_overflow_the_ratio() -> None:
    # exp(1000) overflows, and 0 * inf is NaN.
    actor_critic, parameters = make_learners()
    data = actor_critic.prepare(parameters, roll_out(actor_critic, parameters))
    expected = actor_critic.losses(parameters, data)
    data.log_probs[data.weights == 0] = -math.inf
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    losses = actor_critic.losses(leaves, data)
    for name, value in losses.items():
        torch.testing.assert_close(value.detach(), expected[name])
    for gradient in torch.autograd.grad(losses["total"].sum(), list(leaves.values())):
        assert torch.isfinite(gradient).all()


def test_updates_make_the_rewarded_action_likely() -> None:
    # Action 0 pays 1 and action 1 pays nothing, in both states.
    actor_critic = two_state(learning_rate=0.1)
    learners = StackedPPO(actor_critic, zeros())
    observations = torch.eye(2, dtype=torch.float64).repeat(8, 1).expand(1, 4, 16, 2)
    yes, no = torch.ones(1, 4, 16, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    for update in range(6):
        noise = torch.rand(1, 64, 1, generator=torch.Generator().manual_seed(update))
        acted = actor_critic.policy.act(learners.parameters, observations.flatten(1, 2), noise)
        acted = acted.view(1, 4, 16, 1)
        rewards = (acted[..., 0] == 0).float()
        trajectories = Trajectories(observations, acted, rewards, yes, no, no)
        learners.update(trajectories, generators(range(1), update))
    states = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    first = torch.zeros(1, 2, 1, dtype=torch.int64)
    likely = actor_critic.policy.distribution(learners.parameters, states).log_prob(first).exp()
    assert (likely > 0.8).all()


# State ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_resumed_learners_go_on_bit_for_bit(optimizer: Any) -> None:
    actor_critic, start = make_learners(dtype=torch.float32, optimizer=optimizer, tasks_per_chunk=2)
    whole, first, second = (StackedPPO(actor_critic, start) for _ in range(3))
    train(whole, range(TASKS), range(4))
    train(first, range(TASKS), range(2))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    train(first, range(TASKS), range(2, 3))  # changes no saved number
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(second, range(TASKS), range(2, 4))
    assert torch.equal(to_vector(second.parameters), to_vector(whole.parameters))


def test_a_state_is_a_copy() -> None:
    actor_critic, start = make_learners()
    learners = StackedPPO(actor_critic, start)
    train(learners, range(TASKS), range(1))
    state = learners.state_dict()
    saved = {name: value.clone() for name, value in state["parameters"].items()}
    moments = state["optimizers"][0]["state"][0]["exp_avg"].clone()
    train(learners, range(TASKS), range(1, 2))
    assert all(torch.equal(state["parameters"][name], value) for name, value in saved.items())
    assert torch.equal(state["optimizers"][0]["state"][0]["exp_avg"], moments)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("minibatches", 0),
        ("clip", 0.0),
        ("learning_rate", -1.0),
        ("max_gradient_norm", 0.0),
        ("discount", 1.5),
        ("gae_lambda", -0.1),
        ("value_scale", 0.0),
        ("entropy_bonus", -0.1),
    ],
)
def test_impossible_settings_are_refused(key: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=f"^{key} must "):
        replace(PPOConfig(), **{key: value})
