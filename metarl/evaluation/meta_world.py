"""Meta-World's evaluation protocol on our tasks: adaptation curves of anyone's agent.

The agent is an object with the methods of `MetaLearningAgent` in `metaworld.evaluation` (release
3.1.1), which this module restates without depending on it. An agent sees what Meta-World's own loop
shows it: one environment for each of K tasks, which starts its next episode by itself, so that
episodes of different tasks may end at different times.
"""

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium.spaces import Discrete

from metarl.config import EvaluationConfig
from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve
from metarl.sampling import ActionBoundary
from metarl.simulation import TaskVectorEnv
from metarl.simulation.engine import SimulatedFamily
from metarl.simulation.single_env import simulated_family
from metarl.tasks import TaskStreams
from metarl.training.run_folder import collect_versions

AuxiliaryOutputs = dict[str, np.ndarray]


class Timestep(NamedTuple):
    """A time step of K environments; every array has K rows."""

    observation: np.ndarray
    """`[K, O]`, before the action."""
    action: np.ndarray
    """`[K, A]`, or `[K]` indices."""
    reward: np.ndarray
    """`[K]`."""
    terminated: np.ndarray
    """`[K]` bool, episodes that the task ended."""
    truncated: np.ndarray
    """`[K]` bool, episodes that the horizon ended."""
    aux_policy_outputs: AuxiliaryOutputs
    """What `adapt_action` returned beside the actions."""


class Agent(Protocol):
    """What can be measured."""

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        """Actions `[K, A]` (or `[K]` indices) at observations `[K, O]`, to be measured by."""
        ...

    def reset(self, env_mask: np.ndarray) -> None:
        """New episodes start in the environments of the mask `[K]` bool, while it is measured."""
        ...


class MetaLearningAgent(Agent, Protocol):
    """What can adapt to K tasks at once, and be measured."""

    def init(self) -> None:
        """Forget all adaptation: K other tasks come."""
        ...

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, AuxiliaryOutputs]:
        """Actions at observations `[K, O]`, to adapt by, and whatever `step` is to get back."""
        ...

    def step(self, timestep: Timestep) -> None:
        """What came of the actions of `adapt_action`."""
        ...

    def adapt(self) -> None:
        """The episodes of an adaptation round are over."""
        ...


METHODS = ("init", "adapt_action", "step", "adapt", "eval_action", "reset")


def evaluate_agent(
    agent: Any,
    family: str | SimulatedFamily,
    settings: EvaluationConfig | None = None,
    options: Mapping[str, Any] | None = None,
    horizon: int | None = None,
    threads: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> AdaptationCurve:
    """The adaptation curve of anyone's agent on the first tasks of a fixed list.

    Point s is a run of Meta-World's loop with s adaptation rounds: `init`, s times
    `settings.episodes` episodes or more of each task and `adapt`, and then as many episodes by
    `eval_action`, the first of each task being measured. So an agent is never asked to go on
    adapting after it was measured, and S rounds cost S (S + 1) / 2. Actions are clipped to the
    action space, as our learners' are. Resets come from streams named by the evaluation's seed.

    An agent with a further method `eval_step(timestep)` gets to know the rewards while it is
    measured too, which Meta-World's loop tells nobody: a recurrent policy may need them.

    Args:
        agent: an object with the methods of `MetaLearningAgent`.
        family: a task family, or its name, which may be `module:Name-v0`.
        settings: split, steps (adaptation rounds), tasks, episodes and seed; default: the defaults.
        options: of the family's constructor.
        horizon: time steps of an episode; None: the family's.
        threads: of the simulation; None: the CPUs this process may use.
        on_step: called with 0, 1, ... as each point of the curve is done.

    Raises UserError for an agent that lacks a method, or gives actions that do not fit.
    """
    settings = settings or EvaluationConfig()
    if settings.inner_learning_rates is not None:
        raise UserError("evaluation.inner_learning_rates must be null: an agent has its own")
    world = _World(
        _with_horizon(simulated_family(family, options or {}), horizon), settings, threads
    )
    checked = _CheckedAgent(agent, world)
    points = []
    for rounds in range(settings.steps + 1):
        points.append(_point(checked, world, rounds))
        if on_step:
            on_step(rounds)
    # Costs of the longest run: those of a shorter one may differ where episodes end by chance.
    costs = [0.0, *points[-1].costs]
    returns = np.stack([point.returns for point in points], axis=1)
    return AdaptationCurve(returns, np.cumsum(costs), _details(agent, world, points))


class _Point(NamedTuple):
    """What a run of Meta-World's loop gave."""

    returns: np.ndarray
    """`[K]`, after its last adaptation round."""
    costs: list[float]
    """Environment steps that each round cost a task, on average."""
    failed: int
    """Episodes that ended because the physics diverged."""


def _point(agent: "_CheckedAgent", world: "_World", rounds: int) -> _Point:
    agent.init()
    costs, failed = [], 0
    for number in range(rounds):
        world.begin(f"adaptation/{number}")
        while not world.is_done():
            actions, auxiliary = agent.adapt_action(world.observation)
            agent.step(world.step(actions, auxiliary))
        agent.adapt()
        costs.append(float(world.time_steps))
        failed += world.failed
    world.begin(f"measurement/{rounds}")
    agent.reset(np.ones(world.tasks, dtype=bool))
    while not world.is_done():
        timestep = world.step(agent.eval_action(world.observation), {})
        agent.eval_step(timestep)
        agent.reset(timestep.terminated | timestep.truncated)
    return _Point(world.mean_returns(), costs, failed + world.failed)


class _World:
    """One environment for each task, whose next episode starts in the step that ends one.

    Args:
        family: of the tasks.
        settings: which tasks, how many episodes, which seed.
        threads: of the simulation.
    """

    def __init__(self, family: SimulatedFamily, settings: EvaluationConfig, threads: int | None):
        self.family, self.settings = family, settings
        self.tasks, self.episodes = settings.tasks, settings.episodes
        self.listed = family.split(settings.split)
        self.drawn = self.listed.cycle(self.tasks)
        self._env = TaskVectorEnv(family, self.tasks, 1, threads)
        self._env.set_tasks(self.drawn)
        self._clip = ActionBoundary(family.action_space, "none")

    def begin(self, purpose: str) -> None:
        """Start the first episode of every task; each purpose has random streams of its own."""
        self._purpose = purpose
        self._starts = 0
        self.time_steps = self.failed = 0
        self._running = np.zeros(self.tasks)
        self._returns: list[list[float]] = [[] for _ in range(self.tasks)]
        self.observation = self._start(np.ones(self.tasks, dtype=bool))

    def is_done(self) -> bool:
        """Whether every task has had its episodes; a task that was faster has had more."""
        return all(len(returns) >= self.episodes for returns in self._returns)

    def step(self, actions: np.ndarray, auxiliary: AuxiliaryOutputs) -> Timestep:
        """One time step of every environment, after which `observation` is that of the next."""
        seen = self.observation
        environment_actions = actions
        if not self._clip.discrete:
            policy_actions = torch.from_numpy(actions.astype(np.float32))
            environment_actions = self._clip(policy_actions).numpy()
        following, reward, terminated, truncated, info = self._env.step(environment_actions)
        self.observation = following.astype(np.float64)
        self.time_steps += 1
        self.failed += int(info["failed"].sum())
        self._running += reward
        ended = terminated | truncated
        for task in ended.nonzero()[0]:
            self._returns[task].append(float(self._running[task]))
        self._running[ended] = 0.0
        if ended.any():
            self.observation = self._start(ended)
        return Timestep(seen, actions, reward, terminated, truncated, auxiliary)

    def mean_returns(self) -> np.ndarray:
        """Mean return of each task's first episodes, `[K]`."""
        return np.array([np.mean(returns[: self.episodes]) for returns in self._returns])

    def _start(self, mask: np.ndarray) -> np.ndarray:
        """Episodes in the environments of the mask; observations of all, `[K, O]` float64."""
        name = f"evaluation/{self.settings.split}/agent/{self._purpose}/{self._starts}"
        self._starts += 1
        streams = TaskStreams.of(self.settings.seed, name, 0, range(self.tasks), 1)
        observation = self._env.reset_episodes(streams, torch.from_numpy(mask))
        return observation.numpy().astype(np.float64)


class _CheckedAgent:
    """An agent whose mistakes are answered in one line that names the method."""

    def __init__(self, agent: Any, world: _World):
        self.name = _name_of(agent)
        missing = [name for name in METHODS if not callable(getattr(agent, name, None))]
        if missing:
            raise UserError(
                f"{self.name} cannot be evaluated: it has no method {', '.join(missing)}; "
                f"a MetaLearningAgent has {', '.join(METHODS)}"
            )
        if inspect.isclass(agent):
            raise UserError(f"{self.name} is a class; give an object, {self.name}(...)")
        self._agent = agent
        self.init, self.step = agent.init, agent.step
        self.adapt, self.reset = agent.adapt, agent.reset
        self.eval_step: Callable[[Timestep], object] = getattr(agent, "eval_step", _ignore)
        space = world.family.action_space
        self._discrete = isinstance(space, Discrete)
        self._expected = (world.tasks, *(space.shape or ()))

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, AuxiliaryOutputs]:
        result = self._agent.adapt_action(observations.copy())
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
            raise UserError(
                f"{self.name}.adapt_action must return actions and a dict, the auxiliary outputs; "
                f"got {type(result).__name__}"
            )
        return self._checked("adapt_action", result[0]), dict(result[1])

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        return self._checked("eval_action", self._agent.eval_action(observations.copy()))

    def _checked(self, method: str, actions: Any) -> np.ndarray:
        place = f"{self.name}.{method}"
        try:
            array = np.array(actions)
            finite = np.isfinite(array).all()
        except (TypeError, ValueError) as error:
            raise UserError(f"{place} gave no array of numbers: {error}") from error
        if array.shape != self._expected:
            raise UserError(
                f"{place} gave actions of shape {array.shape}; one for each of "
                f"{self._expected[0]} environments makes {self._expected}"
            )
        if not finite:
            raise UserError(f"{place} gave an action that is not finite")
        if self._discrete and array.dtype.kind not in "iu":
            raise UserError(f"{place} gave {array.dtype} numbers; actions here are indices")
        return array


def _ignore(timestep: Timestep) -> None:
    pass


def _with_horizon(family: SimulatedFamily, horizon: int | None) -> SimulatedFamily:
    if horizon is None:
        return family
    if horizon < 1:
        raise UserError(f"the horizon must be at least 1, got {horizon}")
    family = copy.copy(family)  # which may be the caller's
    family.horizon = horizon
    return family


def _name_of(agent: Any) -> str:
    if inspect.isclass(agent):
        return agent.__name__
    return str(getattr(agent, "name", None) or type(agent).__name__)


def _details(agent: Any, world: _World, points: list[_Point]) -> dict[str, Any]:
    settings, family = world.settings, world.family
    return {
        "family": family.name,
        "horizon": family.horizon,
        "split": settings.split,
        "split_hash": world.listed.content_hash(),
        "distinct_tasks": min(len(world.listed), settings.tasks),
        "episodes": settings.episodes,
        "independent_trials": False,
        "evaluation_seed": settings.seed,
        "failed_episodes": sum(point.failed for point in points),
        "tasks": json.loads(world.drawn.to_json()),
        "protocol": "Meta-World",
        "algorithm": _name_of(agent),
        "versions": collect_versions(),
    }
