"""Our learners as agents of Meta-World's protocol: `as_meta_learning_agent`.

A learner's `adaptation` asks a sampler for trajectories when it needs some; here they come from
outside, a time step at a time. What connects the two is that adaptation depends on nothing but the
trajectories it is given and named random streams: it is run again from its start, fed with all
episodes recorded so far, up to the `collect` that asks for more. Its arguments say how to act next.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms import Learner
from metarl.errors import UserError
from metarl.evaluation.meta_world import AuxiliaryOutputs, Timestep
from metarl.policies import MemoryPolicy, Parameters, Policy
from metarl.sampling import Trajectories
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks, stream
from metarl.training.experiment import Experiment
from metarl.training.restore import open_run, restore

_ACTIONS = "policy_actions"
"""Of the auxiliary outputs: the policy's own actions, before scaling and clipping."""


def as_meta_learning_agent(
    source: Experiment | str | Path, episodes: int | None = None
) -> "LearnerAgent":
    """A learner as an agent for `metarl.evaluation.evaluate_agent`, or for Meta-World's own loop.

    Args:
        source: an experiment, whose learner must not train meanwhile, or the folder of a run, whose
            last checkpoint is taken.
        episodes: of each task that an adaptation round brings at least, of which the first so many
            are adapted to; None: the configuration's `evaluation.episodes`. For learners whose
            episodes adapt in trials of their own (RL2, PEARL), any number will do.

    Raises UserError for a folder that is no run.
    """
    if isinstance(source, Experiment):
        experiment = source
    else:
        run, experiment = open_run(source)
        restore(experiment, run)
    return LearnerAgent(experiment, episodes or experiment.config.evaluation.episodes)


class LearnerAgent:
    """A learner that adapts to what it is shown; see `MetaLearningAgent` for the methods.

    Environments are tasks. Learners whose N episodes adapt together change at `adapt`, by the
    first N episodes of every task since the last one. In trials of their own, an environment is a
    trial, and changes at the end of each episode. The streams are those of `metarl evaluate`: the
    same episodes give the same actions. While it is measured, the agent does not adapt.

    The k-th round adapts k times, from the start; a learner that needs the task itself (the oracle)
    cannot be an agent: UserError.
    """

    def __init__(self, experiment: Experiment, episodes: int):
        self.name = experiment.config.algorithm.name
        self.learner = experiment.learner
        self.family = experiment.family
        self._boundary = experiment.boundary
        self._normalizer = experiment.wanted_normalizer
        self._settings = experiment.config.evaluation
        self._trials = self.learner.trials_are_independent
        self._episodes = 1 if self._trials else episodes
        self.init()

    def init(self) -> None:
        """Start over, with other tasks."""
        self._feeds: list[_Feed] = []
        self._exploring: _Actors | None = None
        self._measured: _Actors | None = None

    # Adaptation ---------------------------------------------------------------------------------

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, AuxiliaryOutputs]:
        """Actions at observations `[K, O]`, and the policy's own actions `[K, A]`."""
        self._begin(len(observations))
        self._measured = None
        if self._exploring is None:
            self._exploring = self._actors()
            self._record = _Record(len(observations), self._episodes, self.family, self.policy)
        actions = self._exploring.act(self._seen(observations))
        return self._environment_actions(actions), {_ACTIONS: actions.numpy()}

    def step(self, timestep: Timestep) -> None:
        """Record a time step of every environment; a trial goes on with its next episode."""
        if self._exploring is None:
            raise UserError("step comes after adapt_action")
        actions = torch.from_numpy(np.asarray(timestep.aux_policy_outputs[_ACTIONS]))
        rewards = torch.from_numpy(np.asarray(timestep.reward, dtype=np.float32))
        terminated = torch.from_numpy(np.asarray(timestep.terminated, dtype=bool))
        ended = terminated | torch.from_numpy(np.asarray(timestep.truncated, dtype=bool))
        seen = self._seen(timestep.observation)
        self._record.add(seen, actions, rewards, terminated, ended)
        self._exploring.after_step(actions, rewards)
        rows = ended.nonzero()[:, 0].tolist()
        if self._trials:
            for row in rows:
                self._go_on(row)
        self._exploring.start(rows)

    def adapt(self) -> None:
        """Adapt to the round's episodes; those that have not ended are dropped."""
        if self._exploring is None:
            raise UserError("adapt comes after adapt_action and step")
        if not self._trials:
            done = int(self._record.episode.min())
            if done < self._episodes:
                raise UserError(
                    f"{self.name} adapts to {self._episodes} episodes of each task, got {done}; "
                    f"make the agent with episodes={max(done, 1)}"
                )
            self._feeds[0].add(self._record.trajectories, self._exploring.left)
            self._ask(self._feeds)
        self._exploring = None

    def _go_on(self, row: int) -> None:
        """The end of an episode in a trial: the learner says how to act in the next one."""
        assert self._exploring is not None
        memory = self._exploring.memory
        kept = None if memory is None else memory[row : row + 1].clone()
        feed = self._feeds[row]
        feed.add(self._record.take(row), kept)
        self._ask([feed])
        self._exploring.replace(row, feed)

    # Measurement --------------------------------------------------------------------------------

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        """Actions at observations `[K, O]` of the policies as they have adapted so far."""
        if self._measured is None:
            self.reset(np.ones(len(observations), dtype=bool))
        assert self._measured is not None
        self._actions = self._measured.act(self._seen(observations))
        self._told = False
        return self._environment_actions(self._actions)

    def eval_step(self, timestep: Timestep) -> None:
        """The rewards of `eval_action`, which only a memory needs; Meta-World's loop has none."""
        rewards = torch.from_numpy(np.asarray(timestep.reward, dtype=np.float32))
        self._tell(rewards)

    def reset(self, env_mask: np.ndarray) -> None:
        """New episodes in some environments; a memory is again as adaptation left it."""
        mask = np.asarray(env_mask, dtype=bool)
        self._begin(len(mask))
        if self._measured is None:
            self._exploring = None
            self._measured = self._actors()
            self._told = True
            return
        self._tell(torch.zeros(len(mask)))
        self._measured.start(mask.nonzero()[0].tolist())

    def _tell(self, rewards: Tensor) -> None:
        """What the last actions brought, once; unknown rewards count as 0."""
        if not self._told and self._measured is not None:
            self._measured.after_step(self._actions, rewards)
        self._told = True

    # What both share ----------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """What acts."""
        return self.learner.policy

    def _begin(self, environments: int) -> None:
        if self._feeds:
            known = sum(feed.task_count for feed in self._feeds)
            if known != environments:
                raise UserError(
                    f"{self.name} was adapting to {known} tasks, and now sees {environments} "
                    "environments; call init() before other tasks come"
                )
            return
        rows = [[row] for row in range(environments)] if self._trials else [range(environments)]
        self._feeds = [_Feed(self, tasks) for tasks in rows]
        self._ask(self._feeds)

    def _ask(self, feeds: Iterable["_Feed"]) -> None:
        for feed in feeds:
            feed.run(self.learner, self._settings.inner_learning_rates)

    def _actors(self) -> "_Actors":
        return _Actors(self.policy, self.family.horizon, self._feeds)

    def _seen(self, observations: np.ndarray) -> Tensor:
        """What the policies see, `[K, O]`."""
        seen = torch.from_numpy(np.asarray(observations, dtype=np.float32))
        return self._normalizer(seen) if self._normalizer else seen

    def _environment_actions(self, actions: Tensor) -> np.ndarray:
        return self._boundary(actions).numpy()

    def make_stream(self, name: str, stage: int, task: int) -> np.random.Generator:
        """The stream that `evaluate` takes for this purpose, task and stage."""
        purpose = f"evaluation/{self._settings.split}/{name}/{stage}"
        return stream(self._settings.seed, purpose, 0, task)


class _Asked(BaseException):
    """Unwinds a learner's adaptation where it asks for episodes that nobody has seen yet."""


class _Wanted(NamedTuple):
    """What `collect` was called with."""

    parameters: Parameters
    memory: Tensor | None


class _Feed:
    """Stands in for a learner's sampler: gives out episodes that were recorded elsewhere.

    Args:
        agent: whose tasks they are.
        tasks: the rows of its environments that adapt together.
    """

    def __init__(self, agent: LearnerAgent, tasks: Sequence[int]):
        self.agent = agent
        self.task_indices = tasks
        self.task_count = len(tasks)
        self.episodes = agent._episodes
        self.family, self.policy = agent.family, agent.policy
        self.boundary, self.normalizer = agent._boundary, agent._normalizer
        self.environment_steps = 0
        self.wanted: _Wanted
        """How to act in the episodes that come next, stacked `[K, ...]`."""
        self.recorded: list[tuple[Trajectories, Tensor | None]] = []
        self._stage = 0

    @property
    def tasks(self) -> Tasks:
        """Unknown."""
        raise UserError(f"{self.agent.name} needs to be told the task, which no agent is")

    @property
    def stage(self) -> int:
        """How often episodes were recorded."""
        return len(self.recorded)

    def add(self, trajectories: Trajectories, memory: Tensor | None) -> None:
        """Record a stage: its episodes, and what they left in the memory `[K, N, M]`."""
        self.recorded.append((trajectories, memory))

    def run(self, learner: Learner, rates: Sequence[float] | None) -> None:
        """Adapt to all that is recorded, from the start; sets `wanted`."""
        self._stage = self.environment_steps = 0
        sampler: Any = self
        try:
            for _ in learner.adaptation(sampler, self.stage, rates):
                pass
        except _Asked:
            return
        raise UserError(
            f"{self.agent.name} asked for the episodes of {self._stage} stages only; adaptation "
            f"over {self.stage} steps must collect {self.stage + 1} times"
        )

    def collect(self, parameters: Parameters, memory: Tensor | None = None) -> Trajectories:
        """As `Sampler.collect`, from what was recorded."""
        if self._stage == len(self.recorded):
            parameters = {name: value.detach().cpu().clone() for name, value in parameters.items()}
            self.wanted = _Wanted(parameters, None if memory is None else memory.clone())
            raise _Asked
        trajectories, memory_after = self.recorded[self._stage]
        if memory is not None and memory_after is not None:
            memory.copy_(memory_after)
        self._stage += 1
        self.environment_steps += int(trajectories.mask.sum())
        return trajectories

    def generators(self, name: str) -> list[np.random.Generator]:
        """As `Sampler.generators`."""
        return [self.agent.make_stream(name, self._stage, task) for task in self.task_indices]


class _Actors:
    """The policies of K environments, each of which is in an episode of its own."""

    def __init__(self, policy: Policy, horizon: int, feeds: Sequence[_Feed]):
        self.policy, self.horizon = policy, horizon
        wanted = [feed.wanted for feed in feeds]
        names = wanted[0].parameters
        self._parameters = {n: torch.cat([each.parameters[n] for each in wanted]) for n in names}
        self.memory: Tensor | None = None
        self.left: Tensor | None = None
        """What the first N episodes of each environment have left in its memory, `[K, N, M]`."""
        if isinstance(policy, MemoryPolicy):
            self._initial = torch.cat([_memory_of(feed) for feed in feeds])
            self.memory = self._initial[:, :1].clone()
            self.left = self._initial.clone()
        self._generators = [
            _action_stream(feed, row) for feed in feeds for row in feed.task_indices
        ]
        count = len(self._generators)
        self._noise = [self._draw(row) for row in range(count)]
        self._time, self._episode = [0] * count, [0] * count
        self._prepare()

    def _prepare(self) -> None:
        """Compute what depends on the parameters alone."""
        if isinstance(self.policy, MemoryPolicy):
            assert self.memory is not None
            self._memory_actor = self.policy.memory_actor(self._parameters, self.memory)
            self._act = self._memory_actor
        else:
            self._memory_actor = None
            self._act = self.policy.actor(self._parameters)

    @torch.no_grad()
    def act(self, seen: Tensor) -> Tensor:
        """Actions `[K, A]` at observations `[K, O]`."""
        if max(self._time) >= self.horizon:
            raise UserError(
                f"an episode is longer than the horizon of {self.horizon} time steps that the "
                "learner was trained with; set tasks.horizon"
            )
        noise = torch.stack([n[:, t] for n, t in zip(self._noise, self._time, strict=True)])
        self._time = [t + 1 for t in self._time]
        return self._act(seen.unsqueeze(1), noise)[:, 0]

    @torch.no_grad()
    def after_step(self, actions: Tensor, rewards: Tensor) -> None:
        """Let a memory remember actions `[K, A]` and rewards `[K]`."""
        if self._memory_actor:
            active = torch.ones(len(actions), 1, dtype=torch.bool)
            self._memory_actor.after_step(actions.unsqueeze(1), rewards.unsqueeze(1), active)

    def start(self, rows: Sequence[int]) -> None:
        """The next episode in some environments."""
        for row in rows:
            self._noise[row] = self._draw(row)
            self._time[row] = 0
            last = self._episode[row]
            self._episode[row] += 1
            if self.memory is not None and self.left is not None:
                episodes = self.left.shape[1]
                if last < episodes:
                    self.left[row, last] = self.memory[row, 0]
                self.memory[row, 0] = self._initial[row, (last + 1) % episodes]

    def replace(self, row: int, feed: _Feed) -> None:
        """Act in this environment as the learner wants next, from its next episode on."""
        for name, value in feed.wanted.parameters.items():
            self._parameters[name][row] = value[0]
        if self.memory is not None:
            self._initial[row] = _memory_of(feed)[0]
        self._generators[row] = _action_stream(feed, row)
        self._prepare()

    def _draw(self, row: int) -> Tensor:
        """The noise of one episode, `[1, T, A]`."""
        shape = (1, self.horizon, self.policy.action_size)
        return self.policy.draw_noise(self._generators[row], shape)


def _action_stream(feed: _Feed, row: int) -> np.random.Generator:
    return feed.agent.make_stream("actions", feed.stage, row)


def _memory_of(feed: _Feed) -> Tensor:
    """What the next episodes start with, `[K, N, M]`; zeros unless the learner says."""
    policy, memory = feed.policy, feed.wanted.memory
    assert isinstance(policy, MemoryPolicy)
    if memory is None:
        return torch.zeros(feed.task_count, feed.episodes, policy.memory_size)
    return memory


class _Record:
    """Writes time steps of K environments into episodes `[K, N, T, ...]`; further ones are dropped.

    Args:
        environments: K.
        episodes: N.
        family: whose horizon is T.
        policy: whose actions are recorded.
    """

    def __init__(self, environments: int, episodes: int, family: SimulatedFamily, policy: Policy):
        lead = (environments, episodes)
        assert family.observation_space.shape is not None
        size = family.observation_space.shape[0]
        discrete = not hasattr(family.action_space, "low")
        action_type = torch.int64 if discrete else torch.float32
        steps = (*lead, family.horizon)
        self.trajectories = Trajectories(
            torch.zeros(*steps, size),
            torch.zeros(*steps, policy.action_size, dtype=action_type),
            torch.zeros(steps),
            torch.zeros(steps, dtype=torch.bool),
            torch.zeros(lead, dtype=torch.bool),
            torch.zeros(lead, dtype=torch.bool),
        )
        self.episode = torch.zeros(environments, dtype=torch.int64)
        """Episodes that have ended, `[K]`."""
        self._time = torch.zeros(environments, dtype=torch.int64)

    def add(
        self, seen: Tensor, actions: Tensor, rewards: Tensor, terminated: Tensor, ended: Tensor
    ) -> None:
        """A time step of every environment: `[K, ...]` each."""
        to, episodes = self.trajectories, self.trajectories.mask.shape[1]
        rows = (self.episode < episodes).nonzero()[:, 0]
        at = (rows, self.episode[rows], self._time[rows])
        to.observations[at] = seen[rows]
        to.actions[at] = actions[rows]
        to.rewards[at] = rewards[rows]
        to.mask[at] = True
        to.terminated[at[:2]] = terminated[rows]
        self._time = torch.where(ended, 0, self._time + 1)
        self.episode += ended

    def take(self, row: int) -> Trajectories:
        """The only episode of an environment, which makes room for its next, `[1, 1, T, ...]`."""
        part = self.trajectories[row : row + 1]
        taken = Trajectories(*(value.clone() for value in vars(part).values()))
        for value in vars(part).values():
            value.zero_()
        self.episode[row] = 0
        return taken
