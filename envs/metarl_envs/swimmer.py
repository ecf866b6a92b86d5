"""The swimmer: tasks that vary the reward."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Tasks, TaskStreams, Uniform, register

CONTROL_COST = 0.0001
"""Reward lost per squared unit of action."""


@register("SwimmerVel-v0")
class SwimmerVel(MujocoFamily):
    """Swim forward at a hidden target velocity.

    Gymnasium's swimmer (Swimmer-v5): a time step is 4 physics steps of 0.01 s.
    Observation `[8]`: qpos[2:] (heading and two joint angles, rad), qvel (5 velocities in m/s and
        rad/s). The position is not in it.
    Action `[2]`: joint torques as fractions of the motors' gear (150), in [-1, 1].
    Start: qpos and qvel + U[-0.1, 0.1), as Swimmer-v5.
    Reward: -|v - velocity| - 0.0001 |action|^2, with v the head's mean velocity along x in m/s.
        ProMP's code *rewards* the distance from the target; ours has the sign that its name says.
    Termination: never. Horizon 200 (8 s).
    Task parameters: `velocity` ~ U[0.1, 0.2] m/s; out of distribution: U[0.2, 0.3] m/s.
    Source: ProMP (Rothfuss et al. 2019) swimmer_rand_vel.py, on Gymnasium's v5 body.
    """

    robot = "swimmer"
    xml = "swimmer.xml"
    frame_skip = 4
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32)
    parameters = {"velocity": Uniform(0.1, 0.2)}
    ood_parameters = {"velocity": Uniform(0.2, 0.3)}

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        qpos = self.nominal["qpos0"] + random.uniform(-0.1, 0.1, (self.model.nq,))
        return qpos, random.uniform(-0.1, 0.1, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 2:], state.qvel], dim=1)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        speed = (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt
        return -(speed - tasks["velocity"]).abs() - CONTROL_COST * action.square().sum(dim=1)
