"""The planar walker: tasks that vary its body or the reward."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform, register
from metarl_envs import rand_params

CONTROL_COST = 0.001
"""Reward lost per squared unit of action."""


class Walker2d(MujocoFamily):
    """Gymnasium's walker (Walker2d-v5): a time step is 4 physics steps of 0.002 s.

    Observation `[17]`: qpos[1:] (height in m, pitch and six joint angles in rad), qvel clipped to
    [-10, 10] (9 velocities in m/s and rad/s). The position along x is not in it.
    Action `[6]`: joint torques as fractions of the motors' gear (100 N m), in [-1, 1].
    Start: qpos and qvel + U[-0.005, 0.005), as Walker2d-v5.
    Termination: height outside (0.8, 2) m, or |pitch| at least 1 rad.
    """

    robot = "walker"
    xml = "walker2d_v5.xml"
    frame_skip = 4
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        qpos = self.nominal["qpos0"] + random.uniform(-0.005, 0.005, (self.model.nq,))
        return qpos, random.uniform(-0.005, 0.005, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 1:], state.qvel.clamp(-10.0, 10.0)], dim=1)

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        height, pitch = state.qpos[:, 1], state.qpos[:, 2]
        return ~((height > 0.8) & (height < 2.0) & (pitch.abs() < 1.0))

    def forward_velocity(self, before: MujocoState, after: MujocoState) -> Tensor:
        """Mean velocity of the torso along x during the step, m/s `[n]`."""
        return (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt


@register("Walker2dRandParams-v0")
class Walker2dRandParams(rand_params.RandParamsFamily, Walker2d):
    """Walk forward with a body whose masses, inertias, damping and friction are unknown.

    Observation, action, start, termination: see `Walker2d`. Horizon 200 (1.6 s).
    Reward: v + 1 - 0.001 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: multipliers of the nominal body, elementwise and independent.
        `mass_scale` [7], per body, `inertia_scale` [7, 3], per body and axis, and
        `friction_scale` [8, 3], per geom and coefficient: 1.5^u with u ~ U[-3, 3], that is
        log-uniform on [0.296296, 3.375]; `damping_scale` [6], per joint: 1.3^u, on
        [0.455166, 2.197]. Out of distribution: damping_scale 1.3^U[3, 4] with
        friction_scale 1.5^U[-4, -3], heavily damped joints on slippery ground.
        MuJoCo's derived constants follow the body (mj_setConst).
    Source: dennisl88/rand_param_envs base.py and walker2d_rand_params.py (log_scale_limit 3.0), as
        used by ProMP and PEARL, on Gymnasium's v5 body (both feet with friction 1.9) and time step.
    """

    parameters = rand_params.random_parameters(bodies=7, joints=6, geoms=8)
    ood_parameters = rand_params.ood_parameters(joints=6, geoms=8)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        cost = CONTROL_COST * action.square().sum(dim=1)
        return self.forward_velocity(before, after) + 1.0 - cost


@register("Walker2dRandParamsLegacy-v0")
class Walker2dRandParamsLegacy(Walker2dRandParams):
    """Walk forward with an unknown body, as rand_param_envs computes it.

    Everything as `Walker2dRandParams`, but for three accidents of the original code that published
    results contain: a physics step is 0.004 s, so that a time step is 0.016 s (its commit c662ac8);
    MuJoCo's derived constants (inverse weights, subtree masses) stay those of the nominal body; and
    the right foot has friction 0.9, the left 1.9. Horizon 200 (3.2 s).
    Task parameters: `mass_scale`, `inertia_scale`, `damping_scale`, `friction_scale` with the
        ranges of `Walker2dRandParams`: [0.296296, 3.375] and, for damping, [0.455166, 2.197].
    Source: dennisl88/rand_param_envs base.py and walker2d_rand_params.py.
    """

    xml = "walker2d.xml"
    timestep = 0.004
    set_const = False


@register("Walker2dVel-v0")
class Walker2dVel(Walker2d):
    """Walk forward at a hidden target velocity.

    Observation, action, start, termination: see `Walker2d`, but a time step is 8 physics steps of
    0.002 s. Horizon 200 (3.2 s).
    Reward: -|v - velocity| + 15 - 0.001 |action|^2, with v the torso's mean velocity along x in
        m/s.
    Task parameters: `velocity` ~ U[0, 10] m/s; out of distribution: U[10, 12] m/s.
    Source: ProMP (Rothfuss et al. 2019) walker2d_rand_vel.py, on Gymnasium's v5 body.
    """

    frame_skip = 8
    parameters = {"velocity": Uniform(0.0, 10.0)}
    ood_parameters = {"velocity": Uniform(10.0, 12.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        cost = CONTROL_COST * action.square().sum(dim=1)
        return -(self.forward_velocity(before, after) - tasks["velocity"]).abs() + 15.0 - cost


@register("Walker2dDir-v0")
class Walker2dDir(Walker2d):
    """Walk as fast as possible in a hidden direction, forward or backward.

    Observation, action, start, termination: see `Walker2d`, but a time step is 8 physics steps of
    0.002 s. Horizon 200 (3.2 s).
    Reward: direction * v + 1 - 0.001 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: `direction`, -1 or +1 with equal probability. There are two tasks only, so
        every split holds both and there is no task out of distribution.
    Source: ProMP (Rothfuss et al. 2019) walker2d_rand_direc.py, on Gymnasium's v5 body.
    """

    frame_skip = 8
    parameters = {"direction": Choice([-1.0, 1.0])}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        cost = CONTROL_COST * action.square().sum(dim=1)
        return tasks["direction"] * self.forward_velocity(before, after) + 1.0 - cost
