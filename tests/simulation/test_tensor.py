"""Families written as tensor functions, and the engine that steps them."""

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.simulation.tensor import TensorEngine
from metarl.tasks import Tasks, TaskStreams, Uniform


@dataclass
class Walk(TensorFamily):
    """x <- x + action + noise; the observation is the state itself, the reward a view of it."""

    noise: float = 0.0

    name = "Walk-v0"
    parameters = {"start": Uniform(0.0, 1.0)}
    horizon = 5
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return tasks["start"].unsqueeze(1) + random.uniform(0.0, self.noise + 1e-12, (1,))

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action + random.normal(self.noise, (1,))

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, 0]

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] > 10.0


def _streams(tasks: int = 3, iteration: int = 0, episodes: int = 1) -> TaskStreams:
    return TaskStreams.of(0, "test", iteration, range(tasks), episodes)


def _engine(noise: float = 0.0) -> TensorEngine:
    engine = TensorEngine(Walk(noise))
    engine.set_tasks(Tasks({"start": [1.0, 2.0, 3.0]}))
    return engine


def _column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def test_a_step_gives_observation_reward_and_ends():
    engine = _engine()
    assert torch.allclose(engine.reset(_streams(), None), _column(1.0, 2.0, 3.0))
    result = engine.step(_column(0.5, 0.5, 8.0), None)
    assert torch.allclose(result.observation, _column(1.5, 2.5, 11.0))
    assert torch.allclose(result.reward, torch.tensor([1.5, 2.5, 11.0], dtype=torch.float64))
    assert result.terminated.tolist() == [False, False, True]
    assert result.failed.tolist() == [False, False, False]


def test_only_the_chosen_environments_are_stepped():
    engine = _engine()
    engine.reset(_streams(), None)
    result = engine.step(_column(1.0, 1.0, 1.0), torch.tensor([0, 2]))
    assert torch.allclose(result.observation, _column(2.0, 2.0, 4.0))
    result = engine.step(_column(1.0, 1.0, 1.0), None)
    assert torch.allclose(result.observation, _column(3.0, 3.0, 5.0))


def test_only_the_chosen_environments_are_reset():
    engine = _engine()
    engine.reset(_streams(), None)
    engine.step(_column(1.0, 1.0, 1.0), None)
    observation = engine.reset(_streams(), torch.tensor([1]))
    assert torch.allclose(observation, _column(2.0, 2.0, 4.0))


def test_a_state_that_is_not_finite_fails_alone_and_does_not_move():
    engine = _engine()
    engine.reset(_streams(), None)
    result = engine.step(_column(1.0, float("nan"), float("inf")), None)
    assert result.failed.tolist() == [False, True, True]
    assert torch.allclose(result.observation, _column(2.0, 2.0, 3.0))


def test_observations_do_not_share_memory_with_the_state():
    engine = _engine()
    engine.reset(_streams(), None).fill_(99.0)
    first = engine.step(_column(0.0, 0.0, 0.0), None)
    assert torch.allclose(first.observation, _column(1.0, 2.0, 3.0))
    first.observation.fill_(99.0)
    second = engine.step(_column(0.0, 0.0, 0.0), None)
    assert torch.allclose(second.observation, _column(1.0, 2.0, 3.0))


def test_noise_in_a_task_comes_from_the_stream_of_that_task():
    def run(tasks: list[int]) -> Tensor:
        engine = TensorEngine(Walk(noise=0.5))
        engine.set_tasks(Tasks({"start": [float(task) for task in tasks]}))
        engine.reset(TaskStreams.of(0, "test", 0, tasks, 1), None)
        zeros = torch.zeros(len(tasks), 1)
        return torch.stack([engine.step(zeros, None).observation for _ in range(4)])

    together = run([0, 1, 2])
    assert torch.equal(together[:, 2:], run([2]))
    assert torch.equal(together.flip(1), run([2, 1, 0]))
    # it is noise: the three tasks differ by more than where they started
    assert len({round(float(x), 9) for x in (together[3] - together[0]).flatten()}) == 3
