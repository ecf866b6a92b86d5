"""PEARL: the posterior, the losses of soft actor-critic, trials, resume."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from metarl.algorithms import make_learner
from metarl.algorithms.pearl import (
    PEARL,
    Minibatch,
    PEARLConfig,
    policy_loss,
    q_loss,
    q_target,
    temperature_loss,
)
from metarl.algorithms.pearl_networks import ContextEncoder, Posterior
from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.optimization import from_vector, to_vector
from metarl.policies import MLP, GaussianPolicy, make_policy
from metarl.policies.latent import LatentPolicy
from metarl.sampling import ActionBoundary, Sampler, Trajectories
from metarl.sampling.replay import Transitions, transitions
from metarl.simulation import TaskVectorEnv
from metarl.training.checkpoints import Checkpoints
from metarl.workers import Workers
from metarl_envs.bandit import BernoulliBandit
from metarl_envs.point import PointNavigation

SETTINGS: dict[str, Any] = {
    "latent_size": 2,
    "encoder_hidden_sizes": (6,),
    "gradient_steps": 3,
    "meta_batch": 3,
    "batch_size": 8,
    "context_size": 5,
    "tasks_per_chunk": 1,
}


def make_pearl(workers: Workers | None = None, **settings: Any) -> PEARL:
    policy = GaussianPolicy(MLP((2, 7, 2), "tanh"))
    config = PEARLConfig(**(SETTINGS | settings))
    learner = make_learner(config, policy, family(), np.random.default_rng(0), "cpu", workers)
    assert isinstance(learner, PEARL)
    return learner


def family() -> PointNavigation:
    made = PointNavigation()
    made.horizon = 6
    return made


def make_sampler(learner: PEARL, tasks: int = 3, episodes: int = 2, scaling: Any = "unit"):
    made = family()
    env = TaskVectorEnv(made, tasks, episodes)
    return Sampler(env, learner.policy, ActionBoundary(made.action_space, scaling))


def begin(sampler: Sampler, iteration: int, indices: list[int]) -> None:
    tasks = sampler.family.sample(1, 0, 9)[indices]
    sampler.begin(tasks, "train", 1, iteration, indices)


# The posterior ----------------------------------------------------------------------------------


def factor(mean: float, variance: float) -> Posterior:
    return Posterior(torch.tensor([1.0 / variance]), torch.tensor([mean / variance]))


def test_product_of_gaussians_by_hand():
    # N(1, 1) N(4, 1/2): precision 1 + 2, mean (1 * 1 + 2 * 4) / 3
    product = factor(1.0, 1.0).times(factor(4.0, 0.5))
    assert product.mean.item() == pytest.approx(3.0)
    assert product.variance.item() == pytest.approx(1.0 / 3.0)
    noise = torch.tensor([2.0])
    assert product.sample(noise).item() == pytest.approx(3.0 + 2.0 / math.sqrt(3.0))


def test_kl_to_the_prior_by_hand():
    # 1/2 (0.5 + 1 - 1 - log 0.5), and two such dimensions are twice that
    assert factor(1.0, 0.5).kl_to_prior().item() == pytest.approx(0.596574)
    both = Posterior(torch.tensor([2.0, 2.0]), torch.tensor([2.0, 2.0]))
    assert both.kl_to_prior().item() == pytest.approx(2 * 0.596574)


def test_an_empty_context_leaves_the_prior():
    noise = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    empty = Posterior.empty(4, 3, 2)
    assert torch.equal(empty.sample(noise), noise)
    assert torch.equal(empty.kl_to_prior(), torch.zeros(4, 3))
    encoder, parameters, context = small_encoder()
    masked = encoder.posterior(parameters, context, torch.zeros(3, 10, dtype=torch.bool))
    assert torch.equal(masked.mean, torch.zeros(3, 2))
    assert torch.equal(masked.variance, torch.ones(3, 2))


def small_encoder() -> tuple[ContextEncoder, dict[str, Tensor], Tensor]:
    generator = np.random.default_rng(0)
    encoder = ContextEncoder(4, 2, (8, 8))
    parameters = {n: v.double() for n, v in encoder.initial_parameters(generator).items()}
    return encoder, parameters, torch.from_numpy(generator.standard_normal((3, 10, 4)))


def test_the_encoder_does_not_see_the_order_of_the_context():
    encoder, parameters, context = small_encoder()
    posterior = encoder.posterior(parameters, context)
    shuffled = encoder.posterior(parameters, context[:, torch.randperm(10)])
    torch.testing.assert_close(shuffled.mean, posterior.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shuffled.variance, posterior.variance, rtol=1e-12, atol=1e-12)
    other = encoder.posterior(parameters, context.flip(0))
    assert not torch.allclose(other.mean, posterior.mean)


def test_the_encoder_multiplies_what_each_transition_says():
    encoder, parameters, context = small_encoder()
    whole = encoder.posterior(parameters, context)
    parts = encoder.posterior(parameters, context[:, :4]).times(
        encoder.posterior(parameters, context[:, 4:])
    )
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.variance, whole.variance)
    mask = (torch.arange(10) < 4).expand(3, 10)
    masked = encoder.posterior(parameters, context, mask)
    torch.testing.assert_close(masked.mean, encoder.posterior(parameters, context[:, :4]).mean)
    # One transition: softplus of the second half of the network's output is the variance.
    one = encoder.posterior(parameters, context[:, :1])
    output = encoder.network(parameters, context[:, 0])
    torch.testing.assert_close(one.mean, output[:, :2])
    torch.testing.assert_close(one.variance, torch.log1p(output[:, 2:].exp()))


# The losses -------------------------------------------------------------------------------------


def test_losses_by_hand():
    # One task with two transitions, O = A = 1; the task ends after the second.
    rows = torch.tensor([[[0.0, 0.0, 1.0, 0.0, 1.0], [0.0, 0.0, -2.0, 0.0, 0.0]]])
    batch = Transitions(rows, 1, 1)
    next_q = torch.tensor([[[4.0, 7.0]], [[3.0, 9.0]]])
    log_prob = torch.tensor([[-2.0, 5.0]])
    alpha = torch.tensor(0.5)
    target = q_target(batch, next_q, log_prob, alpha, discount=0.9, reward_scale=10.0)
    # 10 * 1 + 0.9 (min(4, 3) - 0.5 * -2) = 13.6; 10 * -2 and nothing after the end
    torch.testing.assert_close(target, torch.tensor([[13.6, -20.0]]))
    q = torch.tensor([[[13.6, -18.0]], [[12.6, -20.0]]])
    # mean(0, 4) + mean(1, 0)
    assert q_loss(q, target).item() == pytest.approx(2.5)
    # mean(0.5 * -2 - 12.6, 0.5 * 5 + 20)
    assert policy_loss(q, log_prob, alpha).item() == pytest.approx((-13.6 + 22.5) / 2)
    # -log alpha (mean(-2, 5) - 3): the entropy, -1.5, is above -3, so alpha must fall
    log_alpha = torch.tensor(0.7, requires_grad=True)
    loss = temperature_loss(log_alpha, log_prob, target_entropy=-3.0)
    assert loss.item() == pytest.approx(-0.7 * -1.5)
    (gradient,) = torch.autograd.grad(loss, [log_alpha])
    assert gradient.item() == pytest.approx(1.5)


def in_float64(learner: PEARL) -> PEARL:
    for values in learner.parameters.values():
        for name, value in values.items():
            values[name] = value.detach().double().requires_grad_()
    learner.target_q = {n: v + 0.1 for n, v in learner.parameters["q"].items()}
    learner.target_q = {n: v.detach() for n, v in learner.target_q.items()}
    return learner


def random_minibatch(tasks: int) -> Minibatch:
    generator = np.random.default_rng(3)
    rows = generator.uniform(-0.9, 0.9, (tasks, 8, 8))
    rows[..., -1] = generator.random((tasks, 8)) < 0.7
    context = generator.uniform(-0.9, 0.9, (tasks, 5, 8))
    noise = [generator.standard_normal(s) for s in ((tasks, 2), (tasks, 2, 8, 2))]
    return Minibatch(*(torch.from_numpy(array) for array in (rows, context, *noise)))


@torch.no_grad()
def reference_losses(
    learner: PEARL, changed: dict[str, dict[str, Tensor]], batch: Minibatch
) -> tuple[float, float]:
    """Critic loss with KL, and policy loss: one task and one transition after the other.

    `changed` are the parameters that a loss is differentiated in; the target and, in the policy
    loss, z and Q keep the learner's.
    """
    config, fixed, tasks = learner.config, learner.parameters, len(batch.context)
    new = {**fixed, **changed}
    critic = actor = 0.0
    for task in range(tasks):
        z, kl = reference_latent(new["encoder"], learner, batch, task)
        z_fixed, _ = reference_latent(fixed["encoder"], learner, batch, task)
        critic += config.kl_weight * kl
        for row, noise in zip(
            batch.transitions[task], batch.action_noise[task].transpose(0, 1), strict=True
        ):
            o, a, r, o_next, goes_on = row[:2], row[2:4], row[4], row[5:7], row[7]
            a_next, log_prob = reference_action(fixed["policy"], learner, o_next, z_fixed, noise[1])
            values = reference_q(learner.target_q, learner, o_next, a_next, z_fixed)
            soft = min(values) - config.temperature * log_prob
            target = config.reward_scale * r + config.discount * goes_on * soft
            errors = [q - target for q in reference_q(new["q"], learner, o, a, z)]
            critic += float(sum(error**2 for error in errors)) / 8 / tasks
            own, log_prob = reference_action(new["policy"], learner, o, z_fixed, noise[0])
            value = min(reference_q(fixed["q"], learner, o, own, z_fixed))
            actor += float(config.temperature * log_prob - value) / 8 / tasks
    return critic, actor


def reference_latent(
    parameters: dict[str, Tensor], learner: PEARL, batch: Minibatch, task: int
) -> tuple[Tensor, float]:
    precision = weighted = torch.zeros(2)
    for row in batch.context[task]:
        output = learner.encoder.network(parameters, row[:5])
        variance = torch.log1p(output[2:].exp())
        precision, weighted = precision + 1 / variance, weighted + output[:2] / variance
    posterior = Normal(weighted / precision, precision.rsqrt())
    kl = torch.distributions.kl_divergence(posterior, Normal(torch.zeros(2), torch.ones(2)))
    return posterior.mean + posterior.stddev * batch.latent_noise[task], float(kl.sum())


def reference_action(
    parameters: dict[str, Tensor], learner: PEARL, o: Tensor, z: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    output = learner.policy.network(parameters, torch.cat([o, z]))
    normal = Independent(Normal(output[:2], output[2:].exp()), 1)
    action = torch.tanh(output[:2] + output[2:].exp() * noise)
    return action, TransformedDistribution(normal, TanhTransform()).log_prob(action)


def reference_q(
    parameters: dict[str, Tensor], learner: PEARL, o: Tensor, a: Tensor, z: Tensor
) -> list[Tensor]:
    inputs = torch.cat([o, a, z])
    return [
        learner.q.network({n: v[i] for n, v in parameters.items()}, inputs)[0] for i in range(2)
    ]


@torch.no_grad()
def slope(learner: PEARL, batch: Minibatch, parts: list[str], which: int) -> tuple[float, Tensor]:
    """Central difference of a reference loss along a random direction in some networks."""
    generator = torch.Generator().manual_seed(5)
    leaves = {(part, n): v for part in parts for n, v in learner.parameters[part].items()}
    named = {f"{part}.{name}": value for (part, name), value in leaves.items()}
    at = to_vector(named.values())
    direction = torch.randn(len(at), generator=generator, dtype=torch.float64)
    values = []
    for sign in (1.0, -1.0):
        moved = from_vector(at + sign * 1e-6 * direction, named)
        changed: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
        for (part, name), value in zip(leaves, moved.values(), strict=True):
            changed[part][name] = value
        values.append(reference_losses(learner, changed, batch)[which])
    return (values[0] - values[1]) / 2e-6, direction


def test_gradients_are_those_of_the_paper_s_losses():
    learner = in_float64(make_pearl(discount=0.8, reward_scale=2.0, temperature=0.5, kl_weight=0.3))
    batch = random_minibatch(3)
    gradients, losses = learner.gradients(batch, 3)
    count = len(learner.parameters["policy"])
    policy, rest = gradients[:count], gradients[count:]
    expected, direction = slope(learner, batch, ["q", "encoder"], 0)
    assert float(to_vector(rest) @ direction) == pytest.approx(expected, rel=1e-5)
    expected, direction = slope(learner, batch, ["policy"], 1)
    assert float(to_vector(policy) @ direction) == pytest.approx(expected, rel=1e-5)
    critic, actor = reference_losses(learner, {}, batch)
    q, reported, kl, _ = losses.tolist()
    assert (q + 0.3 * 3 * kl, reported) == (pytest.approx(critic), pytest.approx(actor))


def test_chunks_of_tasks_add_up():
    batch = random_minibatch(3)
    whole, losses = in_float64(make_pearl()).gradients(batch, 3)
    parts = [
        in_float64(make_pearl()).gradients(Minibatch(*(field[k : k + 1] for field in batch)), 3)
        for k in range(3)
    ]
    torch.testing.assert_close(losses, torch.stack([p[1] for p in parts]).sum(dim=0))
    for index, gradient in enumerate(whole):
        summed = torch.stack([p[0][index] for p in parts]).sum(dim=0)
        torch.testing.assert_close(summed, gradient, rtol=1e-10, atol=1e-12)


def test_one_update_is_a_step_of_adam_and_the_target_follows():
    learner = make_pearl(learning_rate=1e-2, target_rate=0.25)
    before = copy.deepcopy(learner.state_dict()["parameters"])
    batch = Minibatch(*(field.float() for field in random_minibatch(3)))
    gradients, _ = learner.gradients(batch, 3)
    learner.update(batch)
    # Adam's first step is the learning rate along the sign of the gradient.
    leaves = [value for part in ("policy", "q", "encoder") for value in before[part].values()]
    moved = [
        value.detach()
        for part in ("policy", "q", "encoder")
        for value in learner.parameters[part].values()
    ]
    for old, new, gradient in zip(leaves, moved, gradients, strict=True):
        large = gradient.abs() > 1e-4
        assert torch.allclose((old - new)[large], 1e-2 * gradient.sign()[large], rtol=1e-2)
    for name, target in learner.target_q.items():
        expected = 0.75 * before["target_q"][name] + 0.25 * learner.parameters["q"][name]
        torch.testing.assert_close(target, expected.detach())
    assert torch.equal(learner.parameters["temperature"]["log"].detach(), torch.tensor(0.0))


def test_a_learned_temperature_falls_while_the_entropy_is_above_its_target():
    learner = make_pearl(learn_temperature=True, learning_rate=1e-2)
    losses = learner.update(Minibatch(*(field.float() for field in random_minibatch(3))))
    assert -losses[3].item() > -2.0  # two actions
    assert learner.parameters["temperature"]["log"].item() == pytest.approx(-1e-2, rel=1e-3)


# Collecting and trials --------------------------------------------------------------------------


def recorded(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The latents of every call of `collect` from now on."""
    latents: list[Tensor] = []
    collect = sampler.collect

    def recording(parameters: Any, memory: Tensor | None = None) -> Trajectories:
        assert memory is not None
        latents.append(memory.clone())
        return collect(parameters, memory)

    monkeypatch.setattr(sampler, "collect", recording)
    return latents


def test_every_environment_infers_from_its_own_trial(monkeypatch: pytest.MonkeyPatch):
    learner = make_pearl()
    before = learner.state_dict()
    sampler = make_sampler(learner)
    begin(sampler, 1, [0, 1, 2])
    latents = recorded(sampler, monkeypatch)
    episodes = list(learner.adaptation(sampler, 2))
    assert [len(set(stage.view(6, 2)[:, 0].tolist())) for stage in latents] == [6, 6, 6]
    for step in (1, 2):
        for task in range(3):
            for trial in range(2):
                own = [
                    Trajectories(
                        *(
                            getattr(stage, field)[task : task + 1, trial : trial + 1]
                            for field in Trajectories.__dataclass_fields__
                        )
                    )
                    for stage in episodes[:step]
                ]
                context = torch.cat([evidence(stage) for stage in own])
                posterior = learner.encoder.posterior(learner.parameters["encoder"], context)
                z = latents[step][task, trial]
                expected = posterior.sample(stage_noise(sampler, step, task, trial))
                torch.testing.assert_close(z, expected.detach(), rtol=1e-4, atol=1e-5)
    assert equal(learner.state_dict(), before)


def evidence(episode: Trajectories) -> Tensor:
    """Observation, action and reward of the steps that took place in one episode."""
    parts = (episode.observations, episode.actions, episode.rewards.unsqueeze(-1))
    return torch.cat(parts, dim=-1)[episode.mask]


def stage_noise(sampler: Sampler, stage: int, task: int, trial: int) -> Tensor:
    """What the stream of a stage gives; the sampler is begun anew and moved there."""
    other = Sampler(sampler.envs, sampler.policy, sampler.boundary)
    begin(other, 1, [0, 1, 2])
    other._stage = stage
    drawn = other.generators("latent")[task].standard_normal((2, 2), dtype=np.float32)
    return torch.from_numpy(drawn[trial])


def test_steps_after_the_end_of_an_episode_say_nothing():
    learner = make_pearl()
    sampler = make_sampler(learner)
    begin(sampler, 1, [0, 1, 2])
    (episode,) = learner.adaptation(sampler, 0)
    cut = episode.mask.clone()
    cut[1, 0, 3:] = False
    ended = replace(episode, mask=cut)
    posterior, whole = learner.infer(ended), learner.infer(episode)
    own = Trajectories(
        *(getattr(ended, name)[1:2, :1] for name in Trajectories.__dataclass_fields__)
    )
    expected = learner.encoder.posterior(learner.parameters["encoder"], evidence(own))
    torch.testing.assert_close(posterior.mean[1, 0], expected.mean.detach())
    torch.testing.assert_close(posterior.variance[1, 0], expected.variance.detach())
    assert not torch.allclose(posterior.precision[1, 0], whole.precision[1, 0])
    assert torch.equal(posterior.precision[1, 1], whole.precision[1, 1])


def test_without_evidence_z_is_drawn_from_the_prior(monkeypatch: pytest.MonkeyPatch):
    learner = make_pearl()
    sampler = make_sampler(learner)
    begin(sampler, 1, [0, 1, 2])
    latents = recorded(sampler, monkeypatch)
    list(learner.adaptation(sampler, 0))
    for task in range(3):
        for trial in range(2):
            assert torch.equal(latents[0][task, trial], stage_noise(sampler, 0, task, trial))


def test_evaluation_takes_the_mean_action_unless_told_otherwise():
    for deterministic in (True, False):
        learner = make_pearl(deterministic_evaluation=deterministic)
        sampler = make_sampler(learner)
        begin(sampler, 1, [0, 1, 2])
        (episode,) = learner.adaptation(sampler, 0)
        z = torch.stack([stage_noise(sampler, 0, k, 0) for k in range(3)])
        inputs = torch.cat([episode.observations[:, 0, 0], z], dim=-1)
        mean = learner.policy.distribution(learner.parameters["policy"], inputs).mean.tanh()
        assert torch.allclose(episode.actions[:, 0, 0], mean, atol=1e-6) == deterministic


def test_the_replay_is_per_task_and_the_context_holds_the_latest_prior_episodes():
    learner = make_pearl()
    sampler = make_sampler(learner)
    stages: list[list[Trajectories]] = []
    for iteration, indices in ((1, [1, 4, 7]), (2, [4, 5, 7])):
        begin(sampler, iteration, indices)
        stages.append(list(learner._trials(sampler, 1, deterministic=False)))
        for stage, trajectories in enumerate(stages[-1]):
            learner._remember(sampler.task_indices, trajectories, is_prior=stage == 0)
    assert learner.replay.tasks == learner.context.tasks == [1, 4, 5, 7]
    everything = torch.cat(
        [
            transitions(stage)[k]
            for k, stage in (
                (1, stages[0][0]),
                (1, stages[0][1]),
                (0, stages[1][0]),
                (0, stages[1][1]),
            )
        ]
    )
    state = learner.state_dict()
    assert torch.equal(state["replay"]["4"]["rows"], everything)
    assert torch.equal(state["context"]["4"]["rows"], transitions(stages[1][0])[0])
    assert torch.equal(state["context"]["1"]["rows"], transitions(stages[0][0])[0])


def test_a_minibatch_pairs_transitions_and_context_of_the_same_tasks():
    learner = make_pearl(meta_batch=2)
    for task in range(4):
        learner.replay.add(task, torch.full((3, 8), float(task)))
        learner.context.add(task, torch.full((3, 8), float(task)))
    seen = set()
    generator = np.random.default_rng(0)
    for _ in range(20):
        batch = learner.draw([0, 1, 2, 3], generator)
        tasks = batch.transitions[:, 0, 0].tolist()
        assert torch.equal(batch.context[:, 0, 0], batch.transitions[:, 0, 0])
        assert len(set(tasks)) == 2
        seen |= set(tasks)
    assert seen == {0, 1, 2, 3}
    assert len(learner.draw([2], generator).context) == 1


def test_a_task_without_context_waits():
    learner = make_pearl()
    with pytest.raises(UserError, match="every episode failed"):
        learner._update_often(np.random.default_rng(0))
    learner.replay.add(4, torch.zeros(3, 8))
    learner.replay.add(5, torch.zeros(3, 8))
    learner.context.add(5, torch.zeros(3, 8))
    assert math.isfinite(learner._update_often(np.random.default_rng(0))["loss/q"])


# State ------------------------------------------------------------------------------------------


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return torch.equal(first, second) if isinstance(first, Tensor) else first == second


def train(learner: PEARL, *iterations: int) -> dict[str, float]:
    sampler = make_sampler(learner)
    metrics: dict[str, float] = {}
    for iteration in iterations:
        begin(sampler, iteration, [iteration % 3, 3 + iteration % 2, 7])
        metrics = learner.meta_update(sampler)
    return metrics


@pytest.mark.parametrize("learn_temperature", [False, True])
def test_resumed_training_gives_the_same_bits(tmp_path: Path, learn_temperature: bool):
    # 20 transitions of a task, so that the ring is full and goes on in its middle
    settings: dict[str, Any] = {"replay_capacity": 20, "learn_temperature": learn_temperature}
    learner, resumed = make_pearl(**settings), make_pearl(**settings)
    train(learner, 1, 2)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, learner.state_dict())
    whole = train(learner, 3)
    resumed.load_state_dict(checkpoints.load_latest()[1])
    assert not equal(resumed.state_dict(), learner.state_dict())
    assert train(resumed, 3) == whole
    assert equal(resumed.state_dict(), learner.state_dict())
    assert learner.replay.size(7) == 20


def test_the_number_of_threads_changes_no_bit():
    one, three = make_pearl(Workers(1)), make_pearl(Workers(3))
    assert train(one, 1, 2) == train(three, 1, 2)
    assert equal(one.state_dict(), three.state_dict())


def test_metrics():
    metrics = train(make_pearl(), 1)
    gain = metrics["train/return_post"] - metrics["train/return_pre"]
    assert metrics["train/adaptation_gain"] == pytest.approx(gain)
    assert metrics["train/tasks_met"] == 3
    assert metrics["train/temperature"] == 1.0
    assert all(math.isfinite(value) for value in metrics.values())


# Refusals ---------------------------------------------------------------------------------------


def test_learning_rates_are_refused():
    learner = make_pearl()
    with pytest.raises(UserError, match="inner_learning_rates to null"):
        next(learner.adaptation(make_sampler(learner), 1, [0.1]))


@pytest.mark.parametrize("scaling", ["ten", "none"])
def test_actions_that_do_not_cover_the_box_are_refused(scaling: str):
    learner = make_pearl()
    sampler = make_sampler(learner, scaling=scaling)
    begin(sampler, 1, [0, 1, 2])
    with pytest.raises(UserError, match="set it to unit"):
        learner.meta_update(sampler)


def test_discrete_actions_and_single_steps_are_refused():
    bandit = BernoulliBandit()
    policy = make_policy(bandit.observation_space, bandit.action_space, (4,))
    with pytest.raises(UserError, match=r"continuous actions, but .*Discrete"):
        PEARL.policy_for(policy, bandit, PEARLConfig())
    short = family()
    short.horizon = 1
    with pytest.raises(UserError, match="at least 2 time steps"):
        PEARL.policy_for(GaussianPolicy(MLP((2, 2))), short, PEARLConfig())


def test_fresh_tasks_in_every_iteration_are_refused():
    mapping = {"tasks": {"family": "PointNavigation-v0"}, "algorithm": {"name": "pearl"}}
    with pytest.raises(UserError, match=r"tasks\.training_tasks must be a number of tasks: pearl"):
        from_mapping(mapping, "here")
    config = from_mapping(mapping, "here", {"tasks.training_tasks": 30})
    assert isinstance(config.algorithm, PEARLConfig)


def test_the_policy_takes_the_configured_network():
    policy = PEARL.policy_for(
        GaussianPolicy(MLP((2, 9, 5, 2), "relu")), family(), PEARLConfig(latent_size=3)
    )
    assert isinstance(policy, LatentPolicy)
    assert policy.network.sizes == (5, 9, 5, 4)
    assert policy.network.activation == "relu"
