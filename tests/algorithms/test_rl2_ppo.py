"""RL^2-PPO: trials, the re-run of the policy on them, the update, and its state.

The reference runs one trial at a time, with a loop over its time steps, the equations of the GRU
written out, and torch.distributions.
"""

import copy
import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor
from torch.distributions import Categorical

from metarl.algorithms.rl2_ppo import RL2PPO, RL2PPOConfig, Trials
from metarl.errors import UserError
from metarl.policies import Parameters, make_policy
from metarl.policies.recurrent import RecurrentActor
from metarl.sampling import ActionBoundary, Sampler, Trajectories
from metarl.simulation import TaskVectorEnv, TensorFamily
from metarl.tasks import Tasks, TaskStreams, Uniform
from metarl.validation import InvalidValue
from metarl.workers import Workers

TASKS, EPISODES, STEPS = 4, 3, 5
SETTINGS: dict[str, Any] = {"hidden_size": 6, "episodes_per_trial": 3, "trials_per_chunk": 5}


class TwoStates(TensorFamily):
    """Switch between two states, or stay; what a state pays is hidden.

    Episodes end by chance, and by chance they fail.
    """

    parameters = {"pay": Uniform(-1.0, 1.0, (2,))}
    horizon = STEPS
    observation_space = Box(0.0, 1.0, (2,), np.float32)
    action_space = Discrete(2)
    failures = 0.1

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        # the state, and what lets an episode end or fail
        return torch.cat([random.integers(2, (1,)).double(), random.uniform(0.0, 1.0, (1,))], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        at = (state[:, :1] - self.switch(action).view(-1, 1)).abs()
        chance = (state[:, 1:] * 7.31 + 0.17) % 1.0
        return torch.where(chance < self.failures, torch.nan, torch.cat([at, chance], dim=1))

    def switch(self, action: Tensor) -> Tensor:
        return action.double()

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return torch.cat([1.0 - state[:, :1], state[:, :1]], dim=1)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return torch.where(after[:, 0] > 0.5, tasks["pay"][:, 1], tasks["pay"][:, 0])

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 1] > 0.85


class TwoStatesByForce(TwoStates):
    """The same with continuous actions."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def switch(self, action: Tensor) -> Tensor:
        return (action.sum(dim=-1) > 0.0).double()


def make_learner(
    discrete: bool = True, workers: Workers | None = None, seed: int = 0, **settings: Any
) -> RL2PPO:
    family = TwoStates() if discrete else TwoStatesByForce()
    plain = make_policy(family.observation_space, family.action_space, (7,), initial_std=0.7)
    config = RL2PPOConfig(**(SETTINGS | settings))
    policy = RL2PPO.policy_for(plain, family, config)
    return RL2PPO(policy, config, np.random.default_rng(seed), workers=workers)


def make_sampler(
    learner: RL2PPO, shards: tuple[int, ...] = (TASKS,), family: TensorFamily | None = None
) -> Sampler:
    discrete = learner.policy.action_size == 1
    family = family or (TwoStates() if discrete else TwoStatesByForce())
    envs = [TaskVectorEnv(family, tasks, EPISODES, 1) for tasks in shards]
    boundary = ActionBoundary(family.action_space, "unit")
    return Sampler(envs, learner.policy, boundary, Workers(len(shards)))


def begin(sampler: Sampler, iteration: int = 0) -> Sampler:
    sampler.begin(sampler.family.sample(0, iteration, TASKS), "train", 0, iteration)
    return sampler


kinds_of_actions = pytest.mark.parametrize("discrete", [True, False])

# Trials -----------------------------------------------------------------------------------------


def test_hidden_state_goes_on_between_episodes_and_starts_anew_with_every_trial(monkeypatch):
    learner = make_learner()
    sampler = begin(make_sampler(learner))
    given: list[Tensor] = []
    left: list[Tensor] = []
    collect = sampler.collect

    def record(parameters: Parameters, memory: Tensor) -> Trajectories:
        given.append(memory.clone())
        trajectories = collect(parameters, memory)
        left.append(memory.clone())
        return trajectories

    monkeypatch.setattr(sampler, "collect", record)
    for _ in range(2):
        list(learner.adaptation(sampler, 2))
    for first in (0, 3):
        assert not given[first].any()
        for before, after in ((first, first + 1), (first + 1, first + 2)):
            assert torch.equal(given[after][..., :-1], left[before][..., :-1])
            assert (given[after][..., -1] == 1.0).all()
            assert left[before].any()


@kinds_of_actions
def test_rerun_of_the_trials_gives_the_log_probabilities_of_the_rollouts(discrete, monkeypatch):
    learner = make_learner(discrete)
    sampler = begin(make_sampler(learner))
    taken: list[Tensor] = []
    act = RecurrentActor.__call__

    def record(actor: RecurrentActor, observations: Tensor, noise: Tensor) -> Tensor:
        actions = act(actor, observations, noise)
        head = actor.policy.distribution(actor.parameters, actor._hidden)
        taken[-1][:, :, steps[-1]] = head.log_prob(actions)
        steps[-1] += 1
        return actions

    monkeypatch.setattr(RecurrentActor, "__call__", record)
    steps: list[int] = []
    episodes = []
    memory = torch.zeros(TASKS, EPISODES, learner.policy.memory_size)
    shared = {n: v.expand(TASKS, *v.shape) for n, v in learner.parameters.items()}
    for episode in range(3):
        if episode:
            learner.policy.next_episode(memory)
        taken.append(torch.zeros(TASKS, EPISODES, STEPS))
        steps.append(0)
        episodes.append(sampler.collect(shared, memory))
    mask = torch.cat([e.mask.flatten(0, 1) for e in episodes], dim=1)
    lengths = mask.sum(dim=1)
    assert sum(int(e.terminated.sum()) for e in episodes) > 3
    assert sum(int(e.failed.sum()) for e in episodes) > 3
    assert len(set(lengths.tolist())) > 3
    recorded = torch.cat([one.flatten(0, 1) for one in taken], dim=1)
    trials = learner.prepare(Trials.of(learner.policy, episodes))
    assert torch.equal(trials.mask.sum(dim=1), lengths)
    for trial, length in enumerate(lengths.tolist()):
        expected = recorded[trial][mask[trial]]
        torch.testing.assert_close(trials.log_probs[trial, :length], expected)


def trajectories_of(mask: Tensor, rewards: Tensor) -> Trajectories:
    """One task's episodes with these rewards `[N, T]`; observations and actions are zero."""
    mask, rewards = mask.unsqueeze(0), rewards.unsqueeze(0)
    lead = mask.shape
    nothing = torch.zeros(lead[:2], dtype=torch.bool)
    actions = torch.zeros(*lead, 1, dtype=torch.int64)
    return Trajectories(torch.zeros(*lead, 2), actions, rewards * mask, mask, nothing, nothing)


def test_advantages_look_over_the_ends_of_episodes_to_the_end_of_the_trial():
    # values are 0, discount 1/2, lambda 1; the second trial's first episode has one step only
    learner = make_learner(episodes_per_trial=2, discount=0.5, gae_lambda=1.0)
    with torch.no_grad():
        for value in learner.parameters.values():
            value.zero_()
    everything = torch.ones(2, 2, dtype=torch.bool)
    short = torch.tensor([[True, True], [True, False]])
    first = trajectories_of(short, torch.zeros(2, 2))
    second = trajectories_of(everything, torch.tensor([[0.0, 8.0], [0.0, 8.0]]))
    trials = learner.prepare(Trials.of(learner.policy, [first, second]))
    expected = [[1.0, 2.0, 4.0, 8.0], [2.0, 4.0, 8.0, 0.0]]
    assert torch.equal(trials.targets, torch.tensor(expected))
    # the flag marks the step after the boundary; times are those of the full trial
    assert torch.equal(trials.inputs[:, :, -1], torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0.0]]))
    assert torch.equal(trials.times[1, :3], torch.tensor([0.0, 0.5, 0.75]))
    # over both trials: mean 0, standard deviation 1
    valid = trials.advantages[trials.mask]
    torch.testing.assert_close(valid.mean(), torch.tensor(0.0), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(valid.std(correction=0), torch.tensor(1.0))
    assert trials.advantages[1, 3] == 0.0


# The reference ----------------------------------------------------------------------------------


def random_episodes(generator: np.random.Generator) -> list[Trajectories]:
    """Three episodes of 2 tasks x 2 trials in float64, of different lengths."""
    episodes = []
    for lengths in ([[3, 1], [2, 3]], [[1, 3], [0, 2]], [[3, 3], [3, 1]]):
        mask = torch.arange(3) < torch.tensor(lengths).unsqueeze(-1)
        state = torch.from_numpy(generator.integers(2, size=(2, 2, 3)))
        actions = torch.from_numpy(generator.integers(2, size=(2, 2, 3, 1))) * mask.unsqueeze(-1)
        rewards = torch.from_numpy(generator.standard_normal((2, 2, 3))) * mask
        observations = torch.nn.functional.one_hot(state, 2).double() * mask.unsqueeze(-1)
        nothing = torch.zeros(2, 2, dtype=torch.bool)
        episodes.append(Trajectories(observations, actions, rewards, mask, nothing, nothing))
    return episodes


def reference_gru(parameters: Parameters, inputs: Tensor, hidden: Tensor) -> Tensor:
    read = inputs @ parameters["gru.weight_input"] + parameters["gru.bias_input"]
    kept = hidden @ parameters["gru.weight_hidden"] + parameters["gru.bias_hidden"]
    (read_r, read_z, read_n), (kept_r, kept_z, kept_n) = read.chunk(3), kept.chunk(3)
    update = torch.sigmoid(read_z + kept_z)
    new = torch.tanh(read_n + torch.sigmoid(read_r + kept_r) * kept_n)
    return (1.0 - update) * new + update * hidden


def reference_network(parameters: Parameters, inputs: Tensor) -> Tensor:
    hidden = torch.tanh(inputs @ parameters["weight0"] + parameters["bias0"])
    return hidden @ parameters["weight1"] + parameters["bias1"]


def reference_trial(
    parameters: Parameters, episodes: list[Trajectories], task: int, episode: int, bptt: int
) -> tuple[list[Tensor], list[Tensor], list[float]]:
    """Logits, value outputs and rewards of the time steps of one trial."""
    value = {n.removeprefix("value."): v for n, v in parameters.items() if n.startswith("value.")}
    hidden, previous, seen = torch.zeros(6).double(), torch.zeros(3).double(), 0
    logits, values, rewards = [], [], []
    for index, part in enumerate(episodes):
        flag = float(index > 0)
        for t in range(3):
            if not part.mask[task, episode, t]:
                break
            told = [part.observations[task, episode, t], previous, torch.tensor([flag]).double()]
            if seen % bptt == 0:
                hidden = hidden.detach()
            hidden = reference_gru(parameters, torch.cat(told), hidden)
            time = torch.tensor([(3 * index + t) / 9]).double()
            logits.append(reference_network(parameters, hidden))
            values.append(reference_network(value, torch.cat([hidden, time]))[0])
            reward = part.rewards[task, episode, t]
            one_hot = torch.eye(2).double()[part.actions[task, episode, t, 0]]
            previous = torch.cat([one_hot, reward.view(1)])
            rewards.append(float(reward))
            flag, seen = 0.0, seen + 1
    return logits, values, rewards


def reference_advantages(values: list[float], rewards: list[float]) -> list[float]:
    """GAE with discount 0.9 and lambda 0.8; the value after the trial is 0."""
    advantages: list[float] = []
    ahead, next_value = 0.0, 0.0
    for value, reward in zip(reversed(values), reversed(rewards), strict=True):
        ahead = reward + 0.9 * next_value - value + 0.9 * 0.8 * ahead
        next_value = value
        advantages.insert(0, ahead)
    return advantages


def reference_loss(
    learner: RL2PPO,
    old: Parameters,
    new: Parameters,
    episodes: list[Trajectories],
    bptt: int = 99,
) -> Tensor:
    """Mean PPO loss over all time steps, from old parameters whose values are in units of 1."""
    pairs = list(itertools.product(range(2), range(2)))
    before = [reference_trial(old, episodes, *pair, bptt) for pair in pairs]
    raw = [reference_advantages([float(v) for v in b[1]], b[2]) for b in before]
    pooled = np.concatenate(raw)
    targets = pooled + np.array([float(value) for trial in before for value in trial[1]])
    losses = []
    for (task, episode), old_trial, own in zip(pairs, before, raw, strict=True):
        logits, values, _ = reference_trial(new, episodes, task, episode, bptt)
        actions = torch.cat([e.actions[task, episode][e.mask[task, episode], 0] for e in episodes])
        for step, action in enumerate(actions):
            policy = Categorical(logits=logits[step])
            old_policy = Categorical(logits=old_trial[0][step].detach())
            ratio = torch.exp(policy.log_prob(action) - old_policy.log_prob(action))
            advantage = (own[step] - pooled.mean()) / pooled.std()
            number = float(ratio.detach())
            clipped = min(max(number, 0.8), 1.2) * advantage
            gain = ratio * advantage if number * advantage <= clipped else clipped
            target = own[step] + float(old_trial[1][step])
            wanted = (target - targets.mean()) / targets.std()
            losses.append(0.5 * 0.5 * (values[step] - wanted) ** 2 - gain - 0.1 * policy.entropy())
    return torch.stack(losses).mean()


def small_problem(**settings: Any) -> tuple[RL2PPO, Parameters, Trials, list[Trajectories]]:
    """A learner in float64 some way from the parameters that drew its trials; those; the trials."""
    learner = make_learner(
        discount=0.9, gae_lambda=0.8, entropy_bonus=0.1, trials_per_chunk=3, **settings
    )
    generator = np.random.default_rng(3)
    learner.parameters = {n: v.detach().double() for n, v in learner.parameters.items()}
    old = {n: v.clone() for n, v in learner.parameters.items()}
    episodes = random_episodes(generator)
    trials = learner.prepare(Trials.of(learner.policy, episodes))
    learner.parameters = {
        n: (v + 0.3 * torch.from_numpy(generator.standard_normal(v.shape))).requires_grad_()
        for n, v in learner.parameters.items()
    }
    return learner, old, trials, episodes


def test_gradient_is_that_of_finite_differences():
    learner, old, trials, episodes = small_problem()
    metrics, gradients = learner.gradient(trials)
    assert 0.1 < metrics["clip_fraction"] < 0.9
    expected = reference_loss(learner, old, learner.parameters, episodes)
    assert metrics["total"] == pytest.approx(float(expected.detach()), abs=1e-6)

    width = 1e-6
    for name, gradient in zip(learner.parameters, gradients, strict=True):
        assert gradient.norm() > 1e-3, name
        # along one random direction and one coordinate of each parameter
        shape = gradient.shape
        direction = torch.from_numpy(np.random.default_rng(4).standard_normal(shape))
        unit = torch.zeros(shape).double()
        unit.view(-1)[0] = 1.0
        for way in (direction, unit):
            ends = []
            for sign in (1.0, -1.0):
                moved = {n: v.detach() for n, v in learner.parameters.items()}
                moved[name] = moved[name] + sign * width * way
                ends.append(float(reference_loss(learner, old, moved, episodes)))
            slope = (ends[0] - ends[1]) / (2 * width)
            assert float((gradient * way).sum()) == pytest.approx(slope, abs=1e-7), name


@pytest.mark.parametrize("bptt_steps", [1, 3])
def test_gradient_passes_back_through_no_more_than_the_wanted_steps(bptt_steps):
    learner, old, trials, episodes = small_problem(bptt_steps=bptt_steps)
    metrics, gradients = learner.gradient(trials)
    whole = small_problem()[0].gradient(trials)
    assert metrics["total"] == pytest.approx(whole[0]["total"], abs=1e-12)
    loss = reference_loss(learner, old, learner.parameters, episodes, bptt_steps)
    expected = torch.autograd.grad(loss, list(learner.parameters.values()))
    for name, gradient, wanted in zip(learner.parameters, gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-8, rtol=0.0, msg=name)
    hidden = list(learner.parameters).index("gru.weight_hidden")
    assert (gradients[hidden] - whole[1][hidden]).norm() > 1e-3


# The update -------------------------------------------------------------------------------------


def prepared(learner: RL2PPO) -> Trials:
    sampler = begin(make_sampler(learner))
    return learner.prepare(Trials.of(learner.policy, list(learner.adaptation(sampler, 2))))


@kinds_of_actions
def test_ratios_are_one_at_the_first_step(discrete):
    learner = make_learner(discrete)
    metrics, _ = learner.gradient(prepared(learner))
    assert metrics["policy"] == pytest.approx(0.0, abs=1e-6)  # minus the mean advantage
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-9)
    assert metrics["clip_fraction"] == 0.0


@kinds_of_actions
def test_update_lowers_the_loss_and_reports_the_last_epoch(discrete):
    learner = make_learner(discrete, epochs=8, learning_rate=3e-3, minibatches=2)
    trials = prepared(learner)
    before, _ = learner.gradient(trials)
    metrics = learner.update(trials, np.random.default_rng(0))
    after, _ = learner.gradient(trials)
    assert after["total"] < metrics["loss/total"] < before["total"]
    assert after["policy"] < before["policy"]
    assert after["value"] < before["value"]
    assert after["kl"] > 1e-5


def test_gradient_is_shortened_to_the_wanted_norm():
    learner = make_learner(max_gradient_norm=1e-3, epochs=1)
    metrics = learner.update(prepared(learner), np.random.default_rng(0))
    gradients = [value.grad for value in learner.parameters.values()]
    square = sum(float(g.square().sum()) for g in gradients if g is not None)
    assert square**0.5 == pytest.approx(1e-3, rel=1e-2)
    assert metrics["loss/gradient_norm"] > 0.01


def test_new_units_of_the_returns_change_no_value():
    learner = make_learner()
    sampler = begin(make_sampler(learner))
    episodes = list(learner.adaptation(sampler, 2))

    def values() -> Tensor:
        trials = Trials.of(learner.policy, episodes)
        with torch.no_grad():
            outputs = learner.forward(learner.parameters, trials)[1]
        return learner.return_mean + learner.return_std * outputs

    before = values()
    trials = learner.prepare(Trials.of(learner.policy, episodes))
    torch.testing.assert_close(values(), before)
    targets = trials.targets[trials.mask]
    assert learner.return_mean == pytest.approx(float(targets.mean()), abs=1e-5)
    assert learner.return_std == pytest.approx(float(targets.std(correction=0)), abs=1e-5)
    assert learner.return_std != pytest.approx(1.0, abs=0.01)


def test_standard_deviation_of_the_actions_is_learned_only_where_wanted():
    for learn_std in (True, False):
        learner = make_learner(discrete=False, learn_std=learn_std)
        metrics = learner.meta_update(begin(make_sampler(learner)))
        moved = metrics["train/policy_std"] != pytest.approx(0.7, abs=1e-6)
        assert moved == learn_std


def test_metrics_hold_the_first_and_the_last_episode_and_the_trial():
    learner = make_learner()
    sampler = begin(make_sampler(learner))
    episodes = list(learner.adaptation(sampler, 2))
    metrics = learner.meta_update(begin(sampler))
    returns = [float(episode.episode_returns.mean()) for episode in episodes]
    assert metrics["train/return_pre"] == pytest.approx(returns[0])
    assert metrics["train/return_post"] == pytest.approx(returns[2])
    assert metrics["train/adaptation_gain"] == pytest.approx(returns[2] - returns[0])
    assert metrics["train/return_trial"] == pytest.approx(sum(returns))
    assert metrics["train/failed_episodes"] == sum(int(e.failed.sum()) for e in episodes) > 0
    assert len(set(returns)) == 3


# What may not change a result -------------------------------------------------------------------


def bits(learner: RL2PPO) -> list[Tensor]:
    return [value.detach().clone() for value in learner.parameters.values()]


def train(learner: RL2PPO, sampler: Sampler, iterations: range) -> list[Tensor]:
    for iteration in iterations:
        learner.meta_update(begin(sampler, iteration))
    return bits(learner)


def assert_same_bits(first: list[Tensor], second: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@kinds_of_actions
def test_number_of_threads_changes_no_bit(discrete):
    results = []
    for threads in (1, 3):
        learner = make_learner(discrete, Workers(threads), trials_per_chunk=2, minibatches=2)
        results.append(train(learner, make_sampler(learner), range(2)))
    assert_same_bits(*results)
    assert not torch.equal(results[0][0], bits(make_learner(discrete))[0])


@kinds_of_actions
@pytest.mark.parametrize("shards", [(1, 3), (2, 1, 1)])
def test_spreading_tasks_over_environments_changes_no_bit(discrete, shards):
    results = []
    for spread in ((TASKS,), shards):
        learner = make_learner(discrete)
        results.append(train(learner, make_sampler(learner, spread), range(2)))
    assert_same_bits(*results)


@kinds_of_actions
def test_resumed_training_has_the_bits_of_one_that_never_stopped(discrete):
    learner = make_learner(discrete, minibatches=2)
    sampler = make_sampler(learner)
    train(learner, sampler, range(2))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    expected = train(learner, sampler, range(2, 4))
    file.seek(0)
    other = make_learner(discrete, seed=9, minibatches=2)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same_bits(train(other, make_sampler(other), range(2, 4)), expected)


def test_adaptation_leaves_the_learner_as_it_is():
    learner = make_learner()
    before = copy.deepcopy(learner.state_dict())
    list(learner.adaptation(begin(make_sampler(learner)), 1))
    after = learner.state_dict()
    assert_same_bits(list(before["parameters"].values()), list(after["parameters"].values()))
    assert before["return_mean"] == after["return_mean"]


# What is refused --------------------------------------------------------------------------------


def test_learning_rates_are_refused_in_one_line():
    learner = make_learner()
    sampler = begin(make_sampler(learner))
    with pytest.raises(UserError, match="hidden state and takes no learning rate"):
        list(learner.adaptation(sampler, 1, [0.1]))


def test_more_minibatches_than_trials_are_refused_in_one_line():
    learner = make_learner(minibatches=13)
    with pytest.raises(UserError, match="minibatches is 13, but an iteration has 12 trials"):
        learner.meta_update(begin(make_sampler(learner)))


def test_iteration_in_which_everything_failed_is_refused_in_one_line():
    class Broken(TwoStates):
        failures = 2.0

    learner = make_learner()
    with pytest.raises(FloatingPointError, match="every episode failed in its first time step"):
        learner.meta_update(begin(make_sampler(learner, family=Broken())))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 0),
        ("episodes_per_trial", 0),
        ("bptt_steps", 0),
        ("clip", 0.0),
        ("discount", 1.5),
        ("gae_lambda", -0.1),
        ("entropy_bonus", -1.0),
        ("max_gradient_norm", 0.0),
    ],
)
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(InvalidValue, match=key):
        RL2PPOConfig(**{key: value})
