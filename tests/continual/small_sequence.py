"""A few stacked learners that go through a short sequence of random episodes with one method."""

import copy
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metarl.algorithms.ppo import ActorCritic, PPOConfig, Samples, StackedPPO
from metarl.continual.config import ContinualPPOConfig
from metarl.continual.methods.method import Method, Setting
from metarl.policies import (
    MLP,
    CategoricalPolicy,
    GaussianPolicy,
    MultiHeadPolicy,
    Parameters,
    Policy,
)
from metarl.sampling import Trajectories
from metarl.tasks.streams import stream
from metarl.workers import Workers

LEARNERS, EPISODES, STEPS, OBSERVATION = 3, 4, 6, 3
STAGES = (0, 1, 0)
PPO: dict[str, Any] = {"learning_rate": 0.01, "epochs": 2, "minibatches": 2}


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """As in a run, where parallelism is over learners; for test modules that take it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_setting(
    stages: tuple[int, ...] = STAGES,
    iterations: int = 4,
    discrete: bool = False,
    heads: bool = False,
    retraining: float = 0.25,
    **ppo: Any,
) -> Setting:
    """One hidden layer of four units, two actions or three choices."""
    network = MLP((OBSERVATION, 4, 3 if discrete else 2))
    policy: Policy = CategoricalPolicy(network) if discrete else GaussianPolicy(network, 0.7)
    if heads:
        policy = MultiHeadPolicy(policy, max(stages) + 1)
    config = ContinualPPOConfig(
        methods={"fine_tuning": ()}, packnet_retraining=retraining, ppo=PPOConfig(**(PPO | ppo))
    )
    return Setting(ActorCritic(policy, config.ppo), config, stages, iterations)


def start(setting: Setting, learners: range, dtype: torch.dtype = torch.float32) -> Parameters:
    """Different initial parameters, `[k, ...]`, the biases among them."""
    draws = []
    for learner in learners:
        generator = np.random.default_rng(learner)
        drawn = setting.actor_critic.initial_parameters(generator)
        for name, value in drawn.items():
            if "bias" in name:
                drawn[name] = torch.from_numpy(generator.normal(0.0, 0.1, value.shape)).float()
        draws.append(drawn)
    return {name: torch.stack([draw[name] for draw in draws]).to(dtype) for name in draws[0]}


@torch.no_grad()
def episodes(
    setting: Setting, parameters: Parameters, learners: Sequence[int], stage: int, iteration: int
) -> Trajectories:
    """Random observations and rewards; an episode may end early."""
    lead, dtype = (EPISODES, STEPS), parameters["bias0"].dtype
    draws = [np.random.default_rng([7, stage, iteration, learner]) for learner in learners]
    seen = torch.from_numpy(np.stack([d.standard_normal((*lead, OBSERVATION)) for d in draws]))
    rewards = torch.from_numpy(np.stack([d.standard_normal(lead) for d in draws]))
    ends = np.stack([d.integers(3, STEPS + 1, EPISODES) for d in draws])
    mask = torch.from_numpy(np.arange(STEPS) < ends[..., None])
    seen = beside_task(setting, seen.to(dtype), setting.stages[stage]) * mask.unsqueeze(-1)
    policy = setting.policy
    noise = torch.stack([policy.draw_noise(d, (*lead, policy.action_size)) for d in draws])
    acting = policy.distribution(parameters, seen.flatten(1, 2))
    acted = acting.sample(noise.to(dtype).flatten(1, 2)).view(len(draws), *lead, -1)
    failed = torch.zeros(len(draws), EPISODES, dtype=torch.bool)
    acted = acted * mask.unsqueeze(-1)
    return Trajectories(seen, acted, rewards.float() * mask, mask, ~mask[..., -1], failed)


def beside_task(setting: Setting, observations: Tensor, task: int) -> Tensor:
    """Observations, with the one-hot task where the policy has an output layer for each."""
    if not isinstance(setting.policy, MultiHeadPolicy):
        return observations
    told = one_hot(torch.tensor(task), setting.policy.memory_size).to(observations.dtype)
    return torch.cat([observations, told.expand(*observations.shape[:-1], -1)], dim=-1)


@dataclass
class Run:
    """k learners with one method, somewhere in the sequence."""

    setting: Setting
    method: Any
    ppo: StackedPPO
    learners: Sequence[int]
    """Numbers that name their random streams."""

    @classmethod
    def of(
        cls,
        kind: type[Method],
        setting: Setting,
        learners: range = range(LEARNERS),
        strength: float = 1.0,
        dtype: torch.dtype = torch.float32,
        threads: int = 1,
    ) -> "Run":
        parameters = start(setting, learners, dtype)
        strengths = torch.full((len(learners),), strength, dtype=dtype)
        ppo = StackedPPO(setting.actor_critic, parameters, workers=Workers(threads))
        return cls(setting, kind(setting, parameters, strengths), ppo, learners)

    @property
    def parameters(self) -> Parameters:
        return self.ppo.parameters

    def begin(self, stage: int) -> None:
        self._replace(self.method.begin_stage(stage, self.parameters))

    def iterate(self, stage: int, iteration: int) -> None:
        self._replace(self.method.before_iteration(stage, iteration, self.parameters))
        drawn = episodes(self.setting, self.parameters, self.learners, stage, iteration)
        generators = [stream(0, "minibatches", 100 * stage + iteration, n) for n in self.learners]
        self.ppo.update(drawn, generators, self.method)

    def end(self, stage: int) -> None:
        generators = [stream(0, "memory", stage, learner) for learner in self.learners]
        self.method.end_stage(stage, self.parameters, self.last_samples(stage), generators)

    def last_samples(self, stage: int) -> Samples:
        """What is drawn at the end of a stage."""
        drawn = episodes(self.setting, self.parameters, self.learners, stage, 99)
        return self.setting.actor_critic.prepare(self.parameters, drawn)

    def train(self, stages: range | None = None) -> "Run":
        """Whole stages; all of them unless said otherwise."""
        for stage in stages or range(len(self.setting.stages)):
            self.begin(stage)
            for iteration in range(self.setting.iterations):
                self.iterate(stage, iteration)
            self.end(stage)
        return self

    def _replace(self, parameters: Parameters | None) -> None:
        if parameters is not None:
            self.ppo.replace(parameters, slice(0, len(self.learners)))


def assert_equal(found: Parameters, expected: Parameters) -> None:
    """The same bits."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


# What every method must do ----------------------------------------------------------------------


def check_stacked_is_separate(kind: type[Method], **settings: Any) -> None:
    """k learners are bit for bit as each alone, in chunks of one; nearly in larger ones."""
    setting = make_setting(tasks_per_chunk=1, **settings)
    stacked = Run.of(kind, setting).train().parameters
    joint = make_setting(tasks_per_chunk=2, **settings)
    doubles = Run.of(kind, joint, dtype=torch.float64).train().parameters
    for learner in range(LEARNERS):
        row, own = slice(learner, learner + 1), range(learner, learner + 1)
        alone = Run.of(kind, setting, own).train().parameters
        assert_equal({name: value[row] for name, value in stacked.items()}, alone)
        alone = Run.of(kind, setting, own, dtype=torch.float64).train().parameters
        for name, value in alone.items():
            torch.testing.assert_close(doubles[name][row], value, atol=1e-9, rtol=0.0)


def check_threads_change_nothing(kind: type[Method], **settings: Any) -> None:
    setting = make_setting(tasks_per_chunk=1, **settings)
    one, two = (Run.of(kind, setting, threads=threads).train() for threads in (1, 2))
    assert_equal(two.parameters, one.parameters)


def check_resumed_is_as_never_stopped(kind: type[Method], **settings: Any) -> None:
    """Saved and loaded within the second stage, after its weights are chosen."""
    # Five parts of 5 samples are not all of 24: what comes next is somewhere in the middle.
    setting = make_setting(iterations=4, minibatches=5, **settings)
    run = Run.of(kind, setting).train(range(1))
    run.begin(1)
    for iteration in range(3):
        run.iterate(1, iteration)
    saved = copy.deepcopy({"ppo": run.ppo.state_dict(), "method": run.method.state_dict()})
    file = io.BytesIO()
    torch.save(saved, file)
    _finish(run)
    resumed = Run.of(kind, setting)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed.ppo.load_state_dict(state["ppo"])
    resumed.method.load_state_dict(state["method"])
    _finish(resumed)
    assert_equal(resumed.parameters, run.parameters)
    ended, expected = resumed.method.state_dict(), run.method.state_dict()
    assert ended.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_equal(ended[name], value)
        else:
            assert torch.equal(torch.as_tensor(ended[name]), torch.as_tensor(value)), name


def _finish(run: Run) -> None:
    run.iterate(1, 3)
    run.end(1)
    run.train(range(2, 3))


def plain_steps(setting: Setting) -> Setting:
    """The same, with one step of gradient descent on all samples in an iteration."""
    ppo = replace(
        setting.config.ppo, optimizer="sgd", epochs=1, minibatches=1, max_gradient_norm=None
    )
    config = replace(setting.config, ppo=ppo)
    return replace(setting, actor_critic=ActorCritic(setting.policy, ppo), config=config)
