"""The hopper: tasks that vary its body."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Tasks, TaskStreams, register
from metarl_envs import rand_params


class Hopper(MujocoFamily):
    """Gymnasium's hopper (Hopper-v5): a time step is 4 physics steps of 0.002 s.

    Observation `[11]`: qpos[1:] (height in m, pitch and three joint angles in rad), qvel clipped to
    [-10, 10] (6 velocities in m/s and rad/s). The position along x is not in it.
    Action `[3]`: joint torques as fractions of the motors' gear (200 N m), in [-1, 1].
    Start: qpos and qvel + U[-0.005, 0.005), as Hopper-v5.
    Termination: height at most 0.7 m, |pitch| at least 0.2 rad, or any of the numbers of qpos and
        qvel after the first two beyond 100.
    """

    robot = "hopper"
    xml = "hopper.xml"
    frame_skip = 4
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (11,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        qpos = self.nominal["qpos0"] + random.uniform(-0.005, 0.005, (self.model.nq,))
        return qpos, random.uniform(-0.005, 0.005, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 1:], state.qvel.clamp(-10.0, 10.0)], dim=1)

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        height, pitch = state.qpos[:, 1], state.qpos[:, 2]
        bounded = torch.cat([state.qpos[:, 2:], state.qvel], dim=1).abs().amax(dim=1) < 100.0
        return ~((height > 0.7) & (pitch.abs() < 0.2) & bounded)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        speed = (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt
        return speed + 1.0 - 0.001 * action.square().sum(dim=1)


@register("HopperRandParams-v0")
class HopperRandParams(rand_params.RandParamsFamily, Hopper):
    """Hop forward with a body whose masses, inertias, damping and friction are unknown.

    Observation, action, start, termination: see `Hopper`. Horizon 200 (1.6 s).
    Reward: v + 1 - 0.001 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: multipliers of the nominal body, elementwise and independent.
        `mass_scale` [4], per body, `inertia_scale` [4, 3], per body and axis, and
        `friction_scale` [5, 3], per geom and coefficient: 1.5^u with u ~ U[-3, 3], that is
        log-uniform on [0.296296, 3.375]; `damping_scale` [3], per joint: 1.3^u, on
        [0.455166, 2.197]. Out of distribution: damping_scale 1.3^U[3, 4] with
        friction_scale 1.5^U[-4, -3], heavily damped joints on slippery ground.
        MuJoCo's derived constants follow the body (mj_setConst).
    Source: dennisl88/rand_param_envs base.py and hopper_rand_params.py (log_scale_limit 3.0), as
        used by ProMP and PEARL, on Gymnasium's v5 body and time step.
    """

    parameters = rand_params.random_parameters(bodies=4, joints=3, geoms=5)
    ood_parameters = rand_params.ood_parameters(joints=3, geoms=5)


@register("HopperRandParamsLegacy-v0")
class HopperRandParamsLegacy(HopperRandParams):
    """Hop forward with an unknown body, as rand_param_envs computes it.

    Everything as `HopperRandParams`, but for two accidents of the original code that published
    results contain: a physics step is 0.004 s, so that a time step is 0.016 s (its commit c662ac8),
    and MuJoCo's derived constants (inverse weights, subtree masses) stay those of the nominal body.
    Horizon 200 (3.2 s).
    Task parameters: `mass_scale`, `inertia_scale`, `damping_scale`, `friction_scale` with the
        ranges of `HopperRandParams`: [0.296296, 3.375] and, for damping, [0.455166, 2.197].
    Source: dennisl88/rand_param_envs base.py and hopper_rand_params.py.
    """

    timestep = 0.004
    set_const = False
