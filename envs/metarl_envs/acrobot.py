"""Gymnasium's acrobot: tasks that vary its links, motor and gravity."""

import math
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import LogUniform, Tasks, TaskStreams, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

GRAVITY = 9.8
"""m/s^2"""
MASS = 1.0
"""kg: of each link."""
LENGTH = 1.0
"""m: of each link."""
INERTIA = 1.0
"""kg m^2: of each link around its centre of mass, in all tasks."""
TORQUE = 1.0
"""N m"""
TIME_STEP = 0.2
"""s: one step of the Runge-Kutta method."""
MAX_RATES = (4.0 * math.pi, 9.0 * math.pi)
"""rad/s: of the first and the second joint."""

_BOUNDS = np.array([1.0, 1.0, 1.0, 1.0, *MAX_RATES], np.float32)


class _Links(NamedTuple):
    """Coefficients of the equations of motion, each `[n]`."""

    inertia_1: Tensor
    inertia_2: Tensor
    coupling: Tensor
    weight_1: Tensor
    weight_2: Tensor

    @classmethod
    def of(cls, tasks: Tasks) -> "_Links":
        mass_1, mass_2, length = tasks["mass_1"], tasks["mass_2"], tasks["length_1"]
        centre_1, centre_2 = 0.5 * length, 0.5 * tasks["length_2"]
        moment = mass_2 * centre_2
        inertia_2 = moment * centre_2 + INERTIA
        return cls(
            inertia_1=mass_1 * centre_1.square() + mass_2 * length.square() + inertia_2 + INERTIA,
            inertia_2=inertia_2,
            coupling=length * moment,
            weight_1=(mass_1 * centre_1 + mass_2 * length) * tasks["gravity"],
            weight_2=moment * tasks["gravity"],
        )


def _derivative(state: Tensor, torque: Tensor, links: _Links) -> Tensor:
    """Time derivative of (angle 1, angle 2, rate 1, rate 2), each `[n, 4]`.

    The equations of Sutton and Barto, "Reinforcement Learning" (1998), section 11.3.
    """
    angle_1, angle_2, rate_1, rate_2 = state.unbind(dim=1)
    swing, sine = links.coupling * angle_2.cos(), links.coupling * angle_2.sin()
    d1 = links.inertia_1 + 2.0 * swing
    d2 = links.inertia_2 + swing
    phi_2 = links.weight_2 * (angle_1 + angle_2).sin()
    phi_1 = links.weight_1 * angle_1.sin() + phi_2 - rate_2 * (rate_2 + 2.0 * rate_1) * sine
    ratio = d2 / d1
    second = torque + ratio * phi_1 - rate_1.square() * sine - phi_2
    second = second / (links.inertia_2 - ratio * d2)
    first = -(ratio * second + phi_1 / d1)
    return torch.stack([rate_1, rate_2, first, second], dim=1)


@register("AcrobotRandParams-v0")
class AcrobotRandParams(TensorFamily):
    """Swing up two links whose masses, lengths and motor are unknown.

    Observation `[6]`: cosine and sine of the first angle, of the second angle, and both rates in
        rad/s. The first angle is measured from hanging down, the second from the first link.
    Action: 0, 1, 2 for a torque of -`torque`, 0, +`torque` on the joint between the links.
    Reward: -1 in every time step, 0 in the one that reaches the goal.
    Termination: -cos(angle 1) - cos(angle 1 + angle 2) > 1: with links of 1 m, when the free end is
        1 m above the fixed one. Horizon 500 (100 s), as Acrobot-v1: random actions seldom reach
        the goal within 200 steps, so that most returns would be the same.
    Start: every number of the state ~ U[-0.1, 0.1).
    Task parameters, each log-uniform, around Gymnasium's value: `gravity` on [6.86, 14.7]
        (9.8 m/s^2); `mass_1` and `mass_2` on [0.7, 1.5] (1 kg); `length_1` and `length_2` on
        [0.7, 1.5] (1 m), with the centre of mass in the middle of the link; `torque` on [0.7, 2]
        (1 N m). Moments of inertia stay 1 kg m^2.
        Out of distribution: mass_2 on [1.5, 2] with gravity on [14.7, 19.6].
    Source: Sutton 1996; gymnasium/envs/classic_control/acrobot.py (Acrobot-v1, "book" dynamics, no
        torque noise), one fourth-order Runge-Kutta step of 0.2 s; rates are clipped to 4 pi and
        9 pi.
    """

    robot = "classic control"
    parameters = {
        "gravity": LogUniform(0.7 * GRAVITY, 1.5 * GRAVITY),
        "mass_1": LogUniform(0.7 * MASS, 1.5 * MASS),
        "mass_2": LogUniform(0.7 * MASS, 1.5 * MASS),
        "length_1": LogUniform(0.7 * LENGTH, 1.5 * LENGTH),
        "length_2": LogUniform(0.7 * LENGTH, 1.5 * LENGTH),
        "torque": LogUniform(0.7 * TORQUE, 2.0 * TORQUE),
    }
    ood_parameters = {
        "gravity": LogUniform(1.5 * GRAVITY, 2.0 * GRAVITY),
        "mass_2": LogUniform(1.5 * MASS, 2.0 * MASS),
    }
    horizon = 500
    observation_space = gymnasium.spaces.Box(-_BOUNDS, _BOUNDS, dtype=np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.uniform(-0.1, 0.1, (4,))

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        links, torque, h = _Links.of(tasks), tasks["torque"] * (action - 1), TIME_STEP
        k1 = _derivative(state, torque, links)
        k2 = _derivative(state + h / 2.0 * k1, torque, links)
        k3 = _derivative(state + h / 2.0 * k2, torque, links)
        k4 = _derivative(state + h * k3, torque, links)
        after = state + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
        angles = torch.remainder(after[:, :2] + math.pi, 2.0 * math.pi) - math.pi
        rates = [after[:, 2 + i : 3 + i].clamp(-most, most) for i, most in enumerate(MAX_RATES)]
        return torch.cat([angles, *rates], dim=1)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        angles = state[:, :2]
        directions = torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)
        return torch.cat([directions, state[:, 2:]], dim=1)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return self.terminated(after, tasks).to(after.dtype) - 1.0

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return -state[:, 0].cos() - (state[:, 0] + state[:, 1]).cos() > 1.0

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        first, second = float(state[0, 0]), float(state[0, 0] + state[0, 1])
        length_1, length_2 = float(tasks["length_1"]), float(tasks["length_2"])
        elbow = [length_1 * math.sin(first), -length_1 * math.cos(first)]
        tip = [elbow[0] + length_2 * math.sin(second), elbow[1] - length_2 * math.cos(second)]
        colour = "tab:green" if bool(self.terminated(state, tasks)) else "tab:blue"
        axes.plot([0.0, elbow[0], tip[0]], [0.0, elbow[1], tip[1]], color=colour, linewidth=6)
        axes.plot([0.0, elbow[0]], [0.0, elbow[1]], "o", color="black", label="joints")
        axes.set(xlim=(-4.7, 4.7), ylim=(-3.1, 3.1), aspect="equal")
        axes.legend(loc="lower right")
