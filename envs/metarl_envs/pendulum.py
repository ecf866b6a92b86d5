"""Gymnasium's pendulum: tasks that vary its mass, length, motor and gravity."""

import math
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import LogUniform, Tasks, TaskStreams, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

GRAVITY = 10.0
"""m/s^2"""
MASS = 1.0
"""kg"""
LENGTH = 1.0
"""m"""
MAX_TORQUE = 2.0
"""N m"""
MAX_RATE = 8.0
"""rad/s"""
TIME_STEP = 0.05
"""s"""

_BOUNDS = np.array([1.0, 1.0, MAX_RATE], np.float32)


@register("PendulumRandParams-v0")
class PendulumRandParams(TensorFamily):
    """Swing up and hold a pendulum whose mass, length and motor are unknown.

    Observation `[3]`: cosine and sine of the angle from upright, its rate in rad/s.
    Action `[1]`: the torque in N m, clipped to +-`max_torque`.
    Reward: -(angle^2 + 0.1 rate^2 + 0.001 torque^2), with the angle in [-pi, pi) and the rate
        before the step and the clipped torque.
    Termination: never. Horizon 200 (10 s), as Pendulum-v1.
    Start: angle ~ U[-pi, pi), rate ~ U[-1, 1).
    Task parameters, each log-uniform, around Gymnasium's value: `gravity` on [7, 15] (10 m/s^2);
        `mass` on [0.7, 1.5] (1 kg); `length` on [0.7, 1.5] (1 m); `max_torque` on [1, 2] (2 N m),
        since a stronger motor would need actions beyond Gymnasium's range.
        Out of distribution: mass on [1.5, 2] with gravity on [3.5, 7].
    Source: gymnasium/envs/classic_control/pendulum.py (Pendulum-v1), a rod that turns around its
        end, in semi-implicit Euler steps of 0.05 s; the rate is clipped to [-8, 8].
    """

    robot = "classic control"
    parameters = {
        "gravity": LogUniform(0.7 * GRAVITY, 1.5 * GRAVITY),
        "mass": LogUniform(0.7 * MASS, 1.5 * MASS),
        "length": LogUniform(0.7 * LENGTH, 1.5 * LENGTH),
        "max_torque": LogUniform(0.5 * MAX_TORQUE, MAX_TORQUE),
    }
    ood_parameters = {
        "gravity": LogUniform(0.35 * GRAVITY, 0.7 * GRAVITY),
        "mass": LogUniform(1.5 * MASS, 2.0 * MASS),
    }
    horizon = 200
    observation_space = gymnasium.spaces.Box(-_BOUNDS, _BOUNDS, dtype=np.float32)
    action_space = gymnasium.spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        angle = random.uniform(-math.pi, math.pi)
        return torch.stack([angle, random.uniform(-1.0, 1.0)], dim=1)

    def torque(self, action: Tensor, tasks: Tasks) -> Tensor:
        """What the motor gives, N m `[n]`, in the action's precision."""
        limit = tasks["max_torque"].to(action.dtype)
        return action[:, 0].clamp(-limit, limit)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        angle, rate = state.unbind(dim=1)
        length = tasks["length"]
        # A rod's moment of inertia around its end is m l^2 / 3, its weight pulls at l / 2.
        weight = 1.5 * tasks["gravity"] / length * angle.sin()
        # Gymnasium's product has the action's precision, often float32, and the last digits grow.
        per_torque = (3.0 / (tasks["mass"] * length.square())).to(action.dtype)
        motor = per_torque * self.torque(action, tasks)
        rate = (rate + TIME_STEP * (weight + motor)).clamp(-MAX_RATE, MAX_RATE)
        return torch.stack([angle + TIME_STEP * rate, rate], dim=1)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        angle, rate = state.unbind(dim=1)
        return torch.stack([angle.cos(), angle.sin(), rate], dim=1)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        angle, rate = before.unbind(dim=1)
        from_upright = torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi
        cost = from_upright.square() + 0.1 * rate.square()
        return -(cost + 0.001 * self.torque(action, tasks).square())

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        angle, length = float(state[0, 0]), float(tasks["length"])
        # A positive angle is counter-clockwise, as in Gymnasium's pictures.
        tip = [-length * math.sin(angle), length * math.cos(angle)]
        axes.plot([0.0, 0.0], [0.0, length], ":", color="tab:green", label="goal")
        axes.plot([0.0, tip[0]], [0.0, tip[1]], color="tab:red", linewidth=8, label="pendulum")
        axes.plot(0.0, 0.0, "o", color="black")
        axes.set(xlim=(-2.6, 2.6), ylim=(-1.7, 1.7), aspect="equal")
        axes.legend(loc="lower right")
