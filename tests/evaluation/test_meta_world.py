"""Anyone's agent by Meta-World's protocol: a world and an agent whose numbers one can compute."""

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from metarl.config import EvaluationConfig
from metarl.errors import UserError
from metarl.evaluation import meta_world
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.meta_world import METHODS, Timestep, evaluate_agent
from metarl.simulation import TensorFamily
from metarl.tasks import Tasks, TaskStreams, Uniform


class Counting(TensorFamily):
    """The reward is the action; the observation is the time, and a random number of the episode.

    Episodes of the first two tasks end after 2 time steps, those of all others after 3.
    """

    name = "Counting-v0"
    parameters = {"unused": Uniform(0.0, 1.0)}
    horizon = 3
    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-5.0, 5.0, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.cat([torch.zeros(len(tasks), 1), random.uniform(0.0, 1.0, (1,))], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + torch.tensor([1.0, 0.0])

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return action.view(len(before)).double()

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return (state[:, 0] >= 2) & (torch.arange(len(state)) < 2)


class Rounds:
    """Measured, its action is the number of adaptation rounds; while it adapts, 100."""

    def __init__(self) -> None:
        self.inits = 0
        self.timesteps: list[list[Timestep]] = []
        self.masks: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []

    def init(self) -> None:
        self.inits += 1
        self.rounds = 0
        self.timesteps = [[]]
        self.masks, self.seen = [], []

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.full((len(observations), 1), 100.0), {"time": observations[:, 0]}

    def step(self, timestep: Timestep) -> None:
        self.timesteps[-1].append(timestep)

    def adapt(self) -> None:
        self.rounds += 1
        self.timesteps.append([])

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        self.seen.append(observations)
        return np.full((len(observations), 1), float(self.rounds))

    def reset(self, env_mask: np.ndarray) -> None:
        self.masks.append(env_mask)


SETTINGS = EvaluationConfig(tasks=4, episodes=2, steps=2)


def test_points_are_returns_after_so_many_rounds():
    agent = Rounds()
    points: list[int] = []
    curve = evaluate_agent(agent, Counting(), SETTINGS, on_step=points.append)
    assert curve.returns.tolist() == [[0, 2, 4], [0, 2, 4], [0, 3, 6], [0, 3, 6]]
    # Two episodes of three steps, in which the first two tasks have three episodes.
    assert curve.environment_steps.tolist() == [0, 6, 12]
    assert points == [0, 1, 2]
    assert agent.inits == 3


def test_an_agent_is_shown_what_meta_worlds_loop_shows():
    agent = Rounds()
    evaluate_agent(agent, Counting(), SETTINGS)
    first, second, nothing = agent.timesteps
    assert (len(first), len(second), nothing) == (6, 6, [])
    times = np.stack([step.observation[:, 0] for step in first])
    assert times[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert times[:, 3].tolist() == [0, 1, 2, 0, 1, 2]
    assert np.array_equal(times, np.stack([step.aux_policy_outputs["time"] for step in first]))
    assert [step.terminated.tolist() for step in first[:3]] == [
        [False] * 4,
        [True, True, False, False],
        [False] * 4,
    ]
    assert [step.truncated.tolist() for step in first[1:3]] == [
        [False] * 4,
        [False, False, True, True],
    ]
    assert {step.observation.dtype for step in first} == {np.dtype(np.float64)}
    # Clipped to the box for the environment; the agent's own for the agent.
    assert all((step.reward == 5).all() and (step.action == 100).all() for step in first)
    # Every task and episode starts from a number of its own.
    starts = [first[at].observation[task, 1] for task in (0, 1) for at in (0, 2, 4)]
    assert len(set(starts)) == 6
    masks = np.stack(agent.masks)
    assert masks[0].all()
    assert masks[1:, 0].tolist() == [False, True] * 3
    assert masks[1:, 3].tolist() == [False, False, True] * 2
    assert len(agent.seen) == 6


def test_resets_come_from_the_evaluations_seed():
    def seen(seed: int) -> np.ndarray:
        agent = Rounds()
        settings = EvaluationConfig(tasks=4, episodes=2, steps=1, seed=seed)
        evaluate_agent(agent, Counting(), settings)
        return np.stack(agent.seen)

    assert np.array_equal(seen(0), seen(0))
    assert not (seen(0)[..., 1] == seen(1)[..., 1]).any()


def test_an_agent_may_ask_to_be_told_rewards_while_it_is_measured():
    class Told(Rounds):
        def eval_step(self, timestep: Timestep) -> None:
            assert len(self.masks) == len(self.seen)  # before the reset that follows
            told.append(timestep.reward.tolist())

    told: list[list[float]] = []
    evaluate_agent(Told(), Counting(), EvaluationConfig(tasks=4, episodes=1, steps=1))
    assert told == [[0.0] * 4] * 3 + [[1.0] * 4] * 3


def test_the_curve_is_saved_as_those_of_our_learners(tmp_path: Path):
    curve = evaluate_agent(Rounds(), Counting(), SETTINGS)
    picture = curve.save(tmp_path, "test")
    assert {path.name for path in tmp_path.iterdir()} == {"test.json", "test.csv", "test.png"}
    assert picture.stat().st_size > 1000
    loaded = AdaptationCurve.load(tmp_path / "test.json")
    assert loaded.returns.tolist() == curve.returns.tolist()
    details = loaded.details
    assert details["algorithm"] == "Rounds"
    assert details["split_hash"] == Counting().split("test").content_hash()
    expected = {
        "family": "Counting-v0",
        "split": "test",
        "horizon": 3,
        "episodes": 2,
        "distinct_tasks": 4,
        "independent_trials": False,
        "evaluation_seed": 0,
        "failed_episodes": 0,
        "protocol": "Meta-World",
    }
    assert {key: details[key] for key in expected} == expected
    assert len(details["tasks"]) == 4
    assert "mujoco" in details["versions"]


def test_options_and_horizon_are_the_familys():
    class Arms(Rounds):
        def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
            return np.zeros(len(observations), dtype=np.int64), {}

        def eval_action(self, observations: np.ndarray) -> np.ndarray:
            return np.full(len(observations), 6)

    settings = EvaluationConfig(tasks=3, episodes=1, steps=1)
    curve = evaluate_agent(Arms(), "BernoulliBandit-v0", settings, {"arms": 7}, horizon=11)
    assert curve.details["horizon"] == 11
    assert len(curve.details["tasks"][0]["means"]) == 7
    assert curve.environment_steps.tolist() == [0, 11]
    with pytest.raises(UserError, match="are 0 to 4, got 6 to 6"):
        evaluate_agent(Arms(), "BernoulliBandit-v0", settings, {"arms": 5}, horizon=11)
    family = Counting()
    evaluate_agent(Rounds(), family, SETTINGS, horizon=2)
    assert family.horizon == 3


class Half:
    """Half an agent."""

    def init(self) -> None: ...

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        return observations


def with_method(name: str, result: Any) -> Rounds:
    agent = Rounds()
    setattr(agent, name, lambda *arguments: result)
    return agent


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (Half(), "Half cannot be evaluated: it has no method adapt_action, step, adapt, reset"),
        (Rounds, r"Rounds is a class; give an object, Rounds\(...\)"),
        (
            with_method("eval_action", np.zeros(4)),
            r"Rounds.eval_action gave actions of shape \(4,\); one for each of 4 .* \(4, 1\)",
        ),
        (with_method("eval_action", [[0], [1, 2]]), "Rounds.eval_action gave no array of numbers"),
        (with_method("eval_action", "up"), "Rounds.eval_action gave no array of numbers"),
        (
            with_method("adapt_action", (np.full((4, 1), np.nan), {})),
            "Rounds.adapt_action gave an action that is not finite",
        ),
        (
            with_method("adapt_action", np.zeros((4, 1))),
            "Rounds.adapt_action must return actions and a dict, .*; got ndarray",
        ),
    ],
)
def test_an_agent_that_does_not_fit_is_answered_in_one_line(agent: Any, message: str):
    with pytest.raises(UserError, match=message) as error:
        evaluate_agent(agent, Counting(), SETTINGS)
    assert "\n" not in str(error.value)


def test_settings_that_an_agent_cannot_follow_are_refused():
    with pytest.raises(UserError, match="inner_learning_rates must be null"):
        evaluate_agent(Rounds(), Counting(), EvaluationConfig(inner_learning_rates=(0.1,)))
    with pytest.raises(UserError, match="horizon must be at least 1, got 0"):
        evaluate_agent(Rounds(), Counting(), SETTINGS, horizon=0)
    discrete = Counting()
    discrete.action_space = Discrete(3)
    with pytest.raises(UserError, match="gave float64 numbers; actions here are indices"):
        evaluate_agent(with_method("eval_action", np.zeros(4)), discrete, SETTINGS)


@pytest.mark.skipif(importlib.util.find_spec("metaworld") is None, reason="needs metaworld")
def test_the_protocol_is_meta_worlds():
    from metaworld import evaluation  # pyright: ignore[reportMissingImports]

    theirs = evaluation.MetaLearningAgent
    assert {name for name in dir(theirs) if not name.startswith("_")} == set(METHODS)
    for name in METHODS:
        own = inspect.signature(getattr(meta_world.MetaLearningAgent, name))
        assert list(inspect.signature(getattr(theirs, name)).parameters) == list(own.parameters)
    assert evaluation.Timestep._fields == Timestep._fields
