"""A point on a plane, in a wind."""

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Tasks, TaskStreams, UniformDisc, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes


@register("WindyPoint-v0")
class WindyPoint(TensorFamily):
    """Stay at the origin in a hidden wind.

    Observation: position (x, y), `[2]`. The wind is not in it.
    Action: the move (dx, dy), each clipped to [-0.1, 0.1].
    Reward: minus the Euclidean distance to the origin after the move.
    Termination: never. Horizon 50.
    Start: uniform on [-0.2, 0.2]^2.
    Task parameters: `wind` [2], added to every move, uniform on the disc of radius 0.08; out of
        distribution: uniform on the ring of radii 0.09 to 0.1.
    Source: none, this world is made up.
    """

    robot = "point"
    parameters = {"wind": UniformDisc(0.08)}
    ood_parameters = {"wind": UniformDisc(0.1, inner_radius=0.09)}
    horizon = 50
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.uniform(-0.2, 0.2, (2,))

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action.clamp(-0.1, 0.1) + tasks["wind"]

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return -after.norm(dim=1)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        (x, y), (wind_x, wind_y) = state[0].tolist(), tasks["wind"][0].tolist()
        axes.plot(0.0, 0.0, "+", color="grey")
        axes.plot(x, y, "o", color="tab:blue")
        axes.arrow(x, y, 5.0 * wind_x, 5.0 * wind_y, color="tab:green", head_width=0.04)
        axes.set(xlim=(-2.0, 2.0), ylim=(-2.0, 2.0), aspect="equal")
