"""Gymnasium's mountain cars: tasks that vary their engine and gravity."""

from typing import TYPE_CHECKING, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import LogUniform, Tasks, TaskStreams, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

FORCE = 0.001
"""Length per time step^2: what the discrete car's engine adds to its velocity."""
POWER = 0.0015
"""Likewise, of the continuous car at full throttle."""
GRAVITY = 0.0025
"""Length per time step^2: what the steepest slope takes away."""
MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07
"""Length per time step."""

_LOW = np.array([MIN_POSITION, -MAX_SPEED], np.float32)
_HIGH = np.array([MAX_POSITION, MAX_SPEED], np.float32)


class MountainCar(TensorFamily):
    """A car in a valley, which seldom has the engine to drive straight up the hill.

    Observation `[2]`: position and velocity; a length has no physical unit here, time is counted in
        steps.
    Start: position ~ U[-0.6, -0.4), velocity 0.
    """

    robot = "classic control"
    observation_space = gymnasium.spaces.Box(_LOW, _HIGH, dtype=np.float32)
    goal: ClassVar[float]
    """Position at which the episode ends."""

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        position = random.uniform(-0.6, -0.4)
        return torch.stack([position, torch.zeros_like(position)], dim=1)

    def drive(self, state: Tensor, engine: Tensor, gravity: Tensor) -> Tensor:
        """States `[n, 2]` one time step later; `engine` `[n]` is what it adds to the velocity."""
        position, velocity = state.unbind(dim=1)
        # The hill's height is sin(3 position), so that the slope goes with cos(3 position).
        slope = gravity * (3.0 * position).to(gravity.dtype).cos()
        velocity = velocity + (engine - slope.to(state.dtype))
        velocity = velocity.clamp(-MAX_SPEED, MAX_SPEED)
        position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION)
        at_wall = (position == MIN_POSITION) & (velocity < 0.0)
        return torch.stack([position, velocity.masked_fill(at_wall, 0.0)], dim=1)

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return (state[:, 0] >= self.goal) & (state[:, 1] >= 0.0)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        hill = torch.linspace(MIN_POSITION, MAX_POSITION, 100)
        axes.plot(hill.tolist(), _height(hill).tolist(), color="grey")
        top = float(_height(torch.tensor(self.goal)))
        axes.plot([self.goal, self.goal], [top, top + 0.2], color="tab:green", label="goal")
        axes.plot(self.goal, top + 0.2, ">", color="tab:green", markersize=9)
        position = state[0, :1]
        height = float(_height(position)) + 0.04
        axes.plot(float(position), height, "o", color="tab:blue", markersize=11, label="car")
        axes.set(xlim=(-1.3, 0.7), ylim=(0.0, 1.35), aspect="equal", xlabel="position")
        axes.legend(loc="upper left")


def _height(position: Tensor) -> Tensor:
    """Of the hill in Gymnasium's pictures."""
    return 0.45 * (3.0 * position).sin() + 0.55


@register("MountainCarRandParams-v0")
class MountainCarRandParams(MountainCar):
    """Drive up a hill with three actions and an unknown engine, with or without a run-up.

    Observation, start: see `MountainCar`.
    Action: 0 drives to the left, 1 lets the car roll, 2 drives to the right.
    Reward: -1 in every time step.
    Termination: position >= 0.5 with velocity >= 0. Horizon 200, as MountainCar-v0.
    Task parameters, both log-uniform, in lengths per time step^2: `force` of the engine on
        [0.001, 0.006], Gymnasium's 0.001 being the weakest, and `gravity` on [0.00125, 0.005]
        around its 0.0025. With force > gravity the car drives straight up, and random actions reach
        the goal at times, which with Gymnasium's own constants they hardly ever do. Accelerating
        along the velocity gets there in all tasks.
        Out of distribution: gravity on [0.005, 0.0075] with force on [0.002, 0.006].
    Source: Moore 1990; gymnasium/envs/classic_control/mountain_car.py (MountainCar-v0).
    """

    parameters = {
        "force": LogUniform(FORCE, 6.0 * FORCE),
        "gravity": LogUniform(0.5 * GRAVITY, 2.0 * GRAVITY),
    }
    ood_parameters = {
        "force": LogUniform(2.0 * FORCE, 6.0 * FORCE),
        "gravity": LogUniform(2.0 * GRAVITY, 3.0 * GRAVITY),
    }
    goal = 0.5
    horizon = 200
    action_space = gymnasium.spaces.Discrete(3)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return self.drive(state, (action - 1) * tasks["force"], tasks["gravity"])

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after.new_full((len(after),), -1.0)


@register("MountainCarContinuousRandParams-v0")
class MountainCarContinuousRandParams(MountainCar):
    """Drive up a hill with a throttle and an unknown engine, with or without a run-up.

    Observation, start: see `MountainCar`.
    Action `[1]`: the throttle, clipped to [-1, 1], times the engine's power.
    Reward: -0.1 action^2 in every time step, and 100 in the one that reaches the goal.
    Termination: position >= 0.45 with velocity >= 0. Horizon 200, where MountainCarContinuous-v0
        has 999: accelerating along the velocity reaches the goal within 200 steps in all tasks, and
        the engines are strong enough for random actions to get there at times.
    Task parameters, both log-uniform, in lengths per time step^2: `power` of the engine on
        [0.001, 0.006] around Gymnasium's 0.0015, and `gravity` on [0.00125, 0.005] around its
        0.0025. Out of distribution: gravity on [0.005, 0.0075] with power on [0.002, 0.006].
    Source: Moore 1990; gymnasium/envs/classic_control/continuous_mountain_car.py
        (MountainCarContinuous-v0).
    """

    parameters = {
        "power": LogUniform(0.001, 0.006),
        "gravity": LogUniform(0.5 * GRAVITY, 2.0 * GRAVITY),
    }
    ood_parameters = {
        "power": LogUniform(0.002, 0.006),
        "gravity": LogUniform(2.0 * GRAVITY, 3.0 * GRAVITY),
    }
    goal = 0.45
    horizon = 200
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        # Gymnasium moves this car in float32, and what is rounded adds up over an episode.
        engine = action[:, 0].float().clamp(-1.0, 1.0) * tasks["power"].float()
        return self.drive(state.float(), engine, tasks["gravity"]).double()

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        arrived = self.terminated(after, tasks)
        return 100.0 * arrived - 0.1 * action[:, 0].to(after.dtype).square()
