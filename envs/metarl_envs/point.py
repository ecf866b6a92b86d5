"""Point robots on the plane."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Tasks, TaskStreams, Uniform, UniformDisc, register

MAX_STEP = 0.1
"""Largest move along an axis in one time step."""
ARRIVED = 0.01
"""Distance along each axis within which the goal counts as reached."""


@register("PointNavigation-v0")
class PointNavigation(TensorFamily):
    """Walk to a hidden goal in the unit square: the 2D navigation of the MAML paper.

    Observation: position (x, y), `[2]`. The goal is not in it.
    Action: the move (dx, dy), each clipped to [-0.1, 0.1].
    Reward: minus the Euclidean distance to the goal after the move. (The paper's text says
        *squared* distance; its code, and the numbers it reports, use the distance.)
    Termination: within 0.01 of the goal along both axes. Horizon 100.
    Start: the origin.
    Task parameters: `goal` ~ U[-0.5, 0.5]^2; out of distribution: uniform on the ring
        of radii 0.75 to 1 around the start, which lies outside that square.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl,
        maml_examples/point_env_randgoal.py.
    """

    parameters = {"goal": Uniform(-0.5, 0.5, (2,))}
    ood_parameters = {"goal": UniformDisc(1.0, inner_radius=0.75)}
    horizon = 100
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-MAX_STEP, MAX_STEP, (2,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros_like(tasks["goal"], dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action.clamp(-MAX_STEP, MAX_STEP)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return -(after - tasks["goal"]).norm(dim=1)

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return ((state - tasks["goal"]).abs() < ARRIVED).all(dim=1)
