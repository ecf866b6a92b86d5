"""The humanoid: tasks that vary the reward."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Tasks, TaskStreams, UnitVector, register


@register("HumanoidDir2D-v0")
class HumanoidDir2D(MujocoFamily):
    """Run as fast as possible in a hidden direction on the plane.

    Gymnasium's humanoid (Humanoid-v5): a time step is 5 physics steps of 0.003 s.
    Observation `[348]`, the fields of Humanoid-v5: qpos[2:] (22: height in m, orientation as a
        quaternion, joint angles in rad), qvel (23), the bodies' inertias cinert (13 x 10) and
        velocities cvel (13 x 6), the motors' torques qfrc_actuator[6:] (17) and the contact forces
        cfrc_ext (13 x 6, N m and N), the last four of the last physics step, as MuJoCo leaves them.
        The position is not in it.
    Action `[17]`: joint torques as fractions of the motors' gear, in [-0.4, 0.4].
    Start: qpos and qvel + U[-0.01, 0.01), as Humanoid-v5.
    Reward: 1.25 v . direction - 0.1 |action|^2 - min(5e-7 |cfrc_ext|^2, 10) + 5, with v the mean
        velocity (m/s) of the whole body's centre of mass on the plane during the step (from one
        last physics step to the next), and cfrc_ext the contact forces on all bodies. (ProMP writes
        0.25 v dt / 0.003 s.)
    Termination: height of the torso outside [1, 2] m. Horizon 200 (3 s).
    Task parameters: `direction` [2], a unit vector uniform on the circle. Every direction is in
        training, so there is no task out of distribution.
    Source: ProMP (Rothfuss et al. 2019) humanoid_rand_direc_2d.py; PEARL humanoid_dir.py; their
        observation [376] also holds the world's rows and unactuated joints, always zero.
    """

    robot = "humanoid"
    xml = "humanoid.xml"
    frame_skip = 5
    fields = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
    sensors = {"center_of_mass": ("subtreecom", "torso")}
    contact_forces = True
    # Without the midphase the humanoid's contacts come in another order, and sums with them.
    disabled = ("island",)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (348,), np.float32)
    parameters = {"direction": UnitVector(2)}

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        qpos = self.nominal["qpos0"] + random.uniform(-0.01, 0.01, (self.model.nq,))
        return qpos, random.uniform(-0.01, 0.01, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        parts = [
            state.qpos[:, 2:],
            state.qvel,
            state.cinert[:, 1:].flatten(1),
            state.cvel[:, 1:].flatten(1),
            state.qfrc_actuator[:, 6:],
            state.cfrc_ext[:, 1:].flatten(1),
        ]
        return torch.cat(parts, dim=1)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        moved = after.sensor("center_of_mass") - before.sensor("center_of_mass")
        velocity = moved[:, :2] / self.dt
        impact = 5e-7 * after.cfrc_ext.square().flatten(1).sum(dim=1)
        along = (velocity * tasks["direction"]).sum(dim=1)
        return 1.25 * along - 0.1 * action.square().sum(dim=1) - impact.clamp(max=10.0) + 5.0

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        height = state.qpos[:, 2]
        return ~((height >= 1.0) & (height <= 2.0))
