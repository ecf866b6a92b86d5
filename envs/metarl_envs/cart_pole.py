"""Gymnasium's cart-pole: tasks that vary its masses, length, force and gravity."""

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

GRAVITY = 9.8
"""m/s^2"""
CART_MASS = 1.0
"""kg"""
POLE_MASS = 0.1
"""kg"""
HALF_LENGTH = 0.5
"""m: from the joint to the pole's centre of mass."""
FORCE = 10.0
"""N: of a push on the cart."""
TIME_STEP = 0.02
"""s"""
MAX_POSITION = 2.4
"""m: the cart beyond it ends the episode."""
MAX_ANGLE = math.radians(12.0)
"""rad: the pole beyond it ends the episode."""

_BOUNDS = np.array([2.0 * MAX_POSITION, np.inf, 2.0 * MAX_ANGLE, np.inf], np.float32)


@register("CartPoleRandParams-v0")
class CartPoleRandParams(TensorFamily):
    """Balance a pole on a cart whose masses, length and force are unknown.

    Observation `[4]`: the cart's position (m) and velocity (m/s), the pole's angle from upright
        (rad) and its rate (rad/s).
    Action: 0 pushes the cart to the left, 1 to the right, with the task's force.
    Reward: 1 in every time step, the last one included.
    Termination: |position| > 2.4 m or |angle| > 12 degrees. Horizon 200 (4 s), as CartPole-v0;
        CartPole-v1, whose numbers are the same, has 500.
    Start: every number of the state ~ U[-0.05, 0.05).
    Task parameters, each log-uniform, from half to twice Gymnasium's value: `gravity` on
        [4.9, 19.6] (9.8 m/s^2); `cart_mass` on [0.5, 2] (1 kg); `pole_mass` on [0.05, 0.2]
        (0.1 kg); `half_length` on [0.25, 1] (0.5 m), half of the pole's length; `force` on [5, 20]
        (10 N).
        Out of distribution: half_length on [0.125, 0.25], a pole that falls faster, with cart_mass
        on [0.25, 0.5], a cart that every push moves further.
    Source: Barto, Sutton and Anderson 1983; gymnasium/envs/classic_control/cartpole.py
        (CartPole-v1, explicit Euler steps of 0.02 s).
    """

    robot = "classic control"
    parameters = {
        "gravity": LogUniform(GRAVITY / 2.0, 2.0 * GRAVITY),
        "cart_mass": LogUniform(CART_MASS / 2.0, 2.0 * CART_MASS),
        "pole_mass": LogUniform(POLE_MASS / 2.0, 2.0 * POLE_MASS),
        "half_length": LogUniform(HALF_LENGTH / 2.0, 2.0 * HALF_LENGTH),
        "force": LogUniform(FORCE / 2.0, 2.0 * FORCE),
    }
    ood_parameters = {
        "half_length": LogUniform(HALF_LENGTH / 4.0, HALF_LENGTH / 2.0),
        "cart_mass": LogUniform(CART_MASS / 4.0, CART_MASS / 2.0),
    }
    horizon = 200
    observation_space = gymnasium.spaces.Box(-_BOUNDS, _BOUNDS, dtype=np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.uniform(-0.05, 0.05, (4,))

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        _, velocity, angle, rate = state.unbind(dim=1)
        mass, length = tasks["pole_mass"], tasks["half_length"]
        total = tasks["cart_mass"] + mass
        moment = mass * length / total
        sine, cosine = angle.sin(), angle.cos()
        # Florian 2007, "Correct equations for the dynamics of the cart-pole system", (23), (24).
        push = tasks["force"] * (2 * action - 1) / total + moment * rate.square() * sine
        angular = (tasks["gravity"] * sine - cosine * push) / (
            4.0 / 3.0 * length - moment * cosine.square()
        )
        linear = push - moment * angular * cosine
        return state + TIME_STEP * torch.stack([velocity, linear, rate, angular], dim=1)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after.new_ones(len(after))

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return (state[:, 0].abs() > MAX_POSITION) | (state[:, 2].abs() > MAX_ANGLE)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        from matplotlib.patches import Rectangle

        (x, _, angle, _), length = state[0].tolist(), 2.0 * float(tasks["half_length"])
        axes.axhline(0.0, color="grey", linewidth=0.8)
        for edge in (-MAX_POSITION, MAX_POSITION):
            axes.axvline(edge, color="lightgrey", linestyle="--")
        axes.add_patch(Rectangle((x - 0.25, -0.125), 0.5, 0.25, color="tab:blue"))
        tip = [x + length * math.sin(angle), length * math.cos(angle)]
        axes.plot([x, tip[0]], [0.0, tip[1]], color="tab:orange", linewidth=5, label="pole")
        axes.plot(x, 0.0, "o", color="black", markersize=4)
        axes.set(xlim=(-2.8, 2.8), ylim=(-0.6, 3.2), aspect="equal", xlabel="position (m)")
