"""The ant: tasks that vary the reward, the body or the world."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform, UniformDisc, UnitVector, register
from metarl_envs.dynamics import (
    OOD_PARAMETERS,
    DynamicsFamily,
    dynamics_parameters,
    half_masked,
    masked,
)

CONTACT_COST = 0.0005
"""Reward lost per squared unit of contact force, each force clipped to [-1, 1]."""


def contact_cost(state: MujocoState) -> Tensor:
    """Cost `[n]` of the contact forces on all bodies: 0.0005 sum(clip(cfrc_ext, -1, 1)^2)."""
    return CONTACT_COST * state.cfrc_ext.clamp(-1.0, 1.0).square().flatten(1).sum(dim=1)


class Ant(MujocoFamily):
    """Gymnasium's ant (Ant-v5): a time step is 5 physics steps of 0.01 s.

    Observation `[27]`: qpos[2:] (height in m, orientation as a quaternion, eight joint angles in
    rad), qvel (14 velocities in m/s and rad/s), as PEARL and VariBAD. Neither the position on the
    plane nor contact forces are in it.
    Action `[8]`: joint torques as fractions of the motors' gear (150 N m), in [-1, 1].
    Start: qpos + U[-0.1, 0.1), qvel + 0.1 N(0, 1), as Ant-v5.
    Termination: height of the torso outside [0.2, 1] m.
    Contact forces are MuJoCo's cfrc_ext on all bodies in the last physics step.
    """

    robot = "ant"
    xml = "ant.xml"
    frame_skip = 5
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (27,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        qpos = self.nominal["qpos0"] + random.uniform(-0.1, 0.1, (self.model.nq,))
        return qpos, random.normal(0.1, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 2:], state.qvel], dim=1)

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        height = state.qpos[:, 2]
        return ~((height >= 0.2) & (height <= 1.0))

    def velocity(self, before: MujocoState, after: MujocoState) -> Tensor:
        """Mean velocity of the torso on the plane during the step, m/s `[n, 2]`."""
        return (after.qpos[:, :2] - before.qpos[:, :2]) / self.dt


class AntWithContacts(Ant):
    """`Ant`, with the contact forces that its rewards need."""

    fields = ("qpos", "qvel", "cfrc_ext")
    contact_forces = True


class AntMAML(AntWithContacts):
    """The ant of the MAML paper: a time step is one physics step of 0.02 s.

    Observation `[125]`: qpos (15) and qvel (14), the contact forces cfrc_ext (14 bodies x 6, each
        clipped to [-1, 1]), the torso's rotation matrix (9) and the centre of mass of the whole
        body (x, y, z in m). The position is in it.
    Start: rllab's pose (hips at 0, ankles at +-1 rad, height 0.55 m) + 0.01 N(0, 1), qvel
        0.1 N(0, 1).
    Velocity and position are those of the centre of mass of the whole body at the end of the step.
    Action and termination as `Ant`; rllab's body equals Gymnasium's, with torques of 150 N m.
    Source: cbfinn/maml_rl, rllab/envs/mujoco/{ant_env_rand,mujoco_env}.py.
    """

    frame_skip = 1
    timestep = 0.02
    fields = ("qpos", "qvel", "cfrc_ext", "xmat")
    sensors = {
        "center_of_mass": ("subtreecom", "torso"),
        "center_of_mass_velocity": ("subtreelinvel", "torso"),
    }
    refresh_fields = True
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (125,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        pose = self.nominal["numeric_data"]  # the file's custom field "init_qpos"
        qpos = pose + random.normal(0.01, (self.model.nq,))
        return qpos, random.normal(0.1, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        parts = [
            state.qpos,
            state.qvel,
            state.cfrc_ext.clamp(-1.0, 1.0).flatten(1),
            state.xmat[:, self.nominal.body("torso")].flatten(1),
            state.sensor("center_of_mass"),
        ]
        return torch.cat(parts, dim=1)


@register("AntVel-v0")
class AntVel(AntWithContacts):
    """Run forward at a hidden target velocity.

    Observation, action, start, termination: see `Ant`. Horizon 200 (10 s).
    Reward: 1 - |v - velocity| - 0.005 |action|^2 - 0.0005 sum(clip(contact forces, -1, 1)^2) +
        0.05, with v the torso's mean velocity along x in m/s.
    Task parameters: `velocity` ~ U[0, 3] m/s; out of distribution: U[3, 4] m/s.
    Source: Finn et al. 2017 (MAML), section 5.3, as ported by tristandeleu/pytorch-maml-rl ant.py,
        on Gymnasium's v5 body.
    """

    parameters = {"velocity": Uniform(0.0, 3.0)}
    ood_parameters = {"velocity": Uniform(3.0, 4.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        speed = self.velocity(before, after)[:, 0]
        cost = 0.005 * action.square().sum(dim=1) + contact_cost(after)
        return 1.0 - (speed - tasks["velocity"]).abs() - cost + 0.05


@register("AntDir-v0")
class AntDir(AntWithContacts):
    """Run as fast as possible in a hidden direction, forward or backward.

    Observation, action, start, termination: see `Ant`. Horizon 200 (10 s).
    Reward: direction * v - 0.5 |action|^2 - 0.0005 sum(clip(contact forces, -1, 1)^2) + 1, with v
        the torso's mean velocity along x in m/s.
    Task parameters: `direction`, -1 or +1 (along x, no angle) with equal probability. There are two
        tasks only, so every split holds both and there is no task out of distribution.
    Source: ProMP (Rothfuss et al. 2019) ant_rand_direc.py, on Gymnasium's v5 body and height
        limits. (VariBAD reads +-1 as radians, so its directions are at +-57 degrees.)
    """

    parameters = {"direction": Choice([-1.0, 1.0])}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        along = tasks["direction"] * self.velocity(before, after)[:, 0]
        return along - 0.5 * action.square().sum(dim=1) - contact_cost(after) + 1.0


@register("AntDir2D-v0")
class AntDir2D(AntWithContacts):
    """Run as fast as possible in a hidden direction on the plane.

    Observation, action, start, termination: see `Ant`. Horizon 200 (10 s).
    Reward: v . direction - 0.5 |action|^2 - 0.0005 sum(clip(contact forces, -1, 1)^2) + 1, with v
        the torso's mean velocity on the plane in m/s.
    Task parameters: `direction` [2], a unit vector uniform on the circle. Every direction is in
        training, so there is no task out of distribution.
    Source: ProMP (Rothfuss et al. 2019) ant_rand_direc_2d.py; PEARL ant_dir.py for observation and
        height limits, on Gymnasium's v5 body.
    """

    parameters = {"direction": UnitVector(2)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        along = (self.velocity(before, after) * tasks["direction"]).sum(dim=1)
        return along - 0.5 * action.square().sum(dim=1) - contact_cost(after) + 1.0


@register("AntGoal-v0")
class AntGoal(AntWithContacts):
    """Walk to a hidden goal in a disc of radius 3 m.

    Observation `[29]`: the position on the plane (x, y in m), then as `Ant`.
    Action and start: see `Ant`. Horizon 200 (10 s).
    Reward: -|x - goal_x| - |y - goal_y| - 0.1 |action|^2 - 0.0005 sum(clip(contact forces, -1,
        1)^2), with (x, y) the torso's position after the step in m.
    Termination: never.
    Task parameters: `goal` [2] ~ uniform over the disc of radius 3 m around the start; out of
        distribution: the ring of radii 3 to 4 m.
    Source: ProMP (Rothfuss et al. 2019) ant_rand_goal.py and PEARL ant_goal.py, whose observation
        [113] also holds the contact forces; on Gymnasium's v5 body.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float32)
    parameters = {"goal": UniformDisc(3.0)}
    ood_parameters = {"goal": UniformDisc(4.0, inner_radius=3.0)}

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos, state.qvel], dim=1)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        distance = (after.qpos[:, :2] - tasks["goal"]).abs().sum(dim=1)
        return -distance - 0.1 * action.square().sum(dim=1) - contact_cost(after)

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.zeros(len(state.qpos), dtype=torch.bool, device=state.qpos.device)


@register("AntVelMAML-v0")
class AntVelMAML(AntMAML):
    """Run forward at a hidden target velocity: the MAML paper's variant.

    Observation, action, start, termination: see `AntMAML` and `Ant`. Horizon 200 (4 s).
    Reward: 1 - |v - velocity| - 0.005 |action|^2 - 0.0005 sum(clip(contact forces, -1, 1)^2) +
        0.05, with v the velocity of the centre of mass along x in m/s.
    Task parameters: `velocity` ~ U[0, 3] m/s; out of distribution: U[3, 4] m/s.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl ant_env_rand.py.
    """

    parameters = {"velocity": Uniform(0.0, 3.0)}
    ood_parameters = {"velocity": Uniform(3.0, 4.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        speed = after.sensor("center_of_mass_velocity")[:, 0]
        cost = 0.005 * action.square().sum(dim=1) + contact_cost(after)
        return 1.0 - (speed - tasks["velocity"]).abs() - cost + 0.05


@register("AntDirMAML-v0")
class AntDirMAML(AntMAML):
    """Run as fast as possible in a hidden direction: the MAML paper's variant.

    Observation, action, start, termination: see `AntMAML` and `Ant`. Horizon 200 (4 s).
    Reward: direction * v - 0.005 |action|^2 - 0.0005 sum(clip(contact forces, -1, 1)^2) + 0.05,
        with v the velocity of the centre of mass along x in m/s.
    Task parameters: `direction`, -1 or +1 with equal probability. There are two tasks only, so
        every split holds both and there is no task out of distribution.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl ant_env_rand_direc.py.
    """

    parameters = {"direction": Choice([-1.0, 1.0])}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        along = tasks["direction"] * after.sensor("center_of_mass_velocity")[:, 0]
        return along - 0.005 * action.square().sum(dim=1) - contact_cost(after) + 0.05


@register("AntGoalMAML-v0")
class AntGoalMAML(AntMAML):
    """Walk to a hidden goal in a square: the MAML paper's variant.

    Observation, action, start, termination: see `AntMAML` and `Ant`. Horizon 200 (4 s).
    Reward: 4 - |x - goal_x| - |y - goal_y| - 0.005 |action|^2
        - 0.0005 sum(clip(contact forces, -1, 1)^2) + 0.05, with (x, y) the centre of mass after the
        step in m.
    Task parameters: `goal` [2] ~ U[-3, 3]^2 m; out of distribution: the ring of radii 4.5 to 5 m.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl ant_env_rand_goal.py.
    """

    parameters = {"goal": Uniform(-3.0, 3.0, (2,))}
    ood_parameters = {"goal": UniformDisc(5.0, inner_radius=4.5)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        position = after.sensor("center_of_mass")[:, :2]
        distance = (position - tasks["goal"]).abs().sum(dim=1)
        return 4.0 - distance - 0.005 * action.square().sum(dim=1) - contact_cost(after) + 0.05


@register("AntDynamics-v0")
class AntDynamics(DynamicsFamily, Ant):
    """Run forward as fast as possible while body, world and signals are changed.

    Observation: see `Ant`; numbers that the task masks are 0.
    Action, start, termination: see `Ant`; the motors get the action times `action_scale`.
        Horizon 200 (10 s).
    Reward: v - 0.5 |applied action|^2 + 1, with v the torso's mean velocity along x in m/s.
    Task parameters: multipliers of the nominal robot. `gravity` ~ log-uniform on [0.15, 2];
        `friction` (all geoms) ~ log-uniform on [0.375, 1.5]; `torso_mass` (and inertia) ~
        log-uniform on [0.5, 4]; `foot_size` (radius, and mass and inertia in proportion, of the
        four lower legs) ~ U[0.5, 3]; `observation_mask` [27], each 0 with probability 0.1, else 1,
        visible as zeros in the observation; `action_scale` [8], each -1 (inverted) or 0 (masked)
        with probability 0.1, else 1. Out of distribution: gravity U[2, 2.5], friction log-uniform
        on [0.25, 0.375], torso_mass U[4, 5]. `named_tasks` are CSP's scenarios.
    Source: CSP (Gaya et al. 2023), facebookresearch/salina salina_cl/scenarios/brax/ant.py, on
        Gymnasium's v5 body; its springs, joint damping and contact cost are
        left out.
    """

    feet = ("left_ankle_geom", "right_ankle_geom", "third_ankle_geom", "fourth_ankle_geom")
    parameters = dynamics_parameters(observations=27, actions=8, largest_foot=3.0)
    ood_parameters = OOD_PARAMETERS
    # Two numbers for each leg, in the order 4, 1, 2, 3; the robot's file calls 1 and 2 the front.
    named_tasks = {
        "normal": {},
        "hugefoot": {"foot_size": 3.0},
        "tinyfoot": {"foot_size": 0.75},
        "moon": {"gravity": 0.7},
        "rainfall": {"friction": 0.375},
        "hugetorso": {"torso_mass": 1.5},
        "hugefoot_moon": {"foot_size": 3.0, "gravity": 0.7},
        "hugefoot_rainfall": {"foot_size": 3.0, "friction": 0.375},
        "hugetorso_moon": {"torso_mass": 1.5, "gravity": 0.7},
        "hugetorso_rainfall": {"torso_mass": 1.5, "friction": 0.375},
        "tinyfoot_moon": {"foot_size": 0.75, "gravity": 0.7},
        "tinyfoot_rainfall": {"foot_size": 0.75, "friction": 0.375},
        "defective_module": {"observation_mask": half_masked(27)},
        "inverted_actions": {"action_scale": -1.0},
        "disabled_forefeet": {"action_scale": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]},
        "disabled_backfeet": {"action_scale": [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]},
        "disabled_first_diagonal": {"action_scale": [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]},
        "disabled_second_diagonal": {"action_scale": [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]},
        "disabled_hard1": {"action_scale": [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]},
        "disabled_hard2": {"action_scale": [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]},
        "disabled_hard3": {"action_scale": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]},
        "disabled_hard4": {"action_scale": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        "small_gravity": {"gravity": 0.8},
        "high_gravity": {"gravity": 1.25},
        **{f"gravity_{level / 5}": {"gravity": level / 5} for level in range(1, 11)},
    }

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return masked(super().observation(state, tasks), tasks)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        applied = self.control(action, tasks)
        speed = self.velocity(before, after)[:, 0]
        return speed - 0.5 * applied.square().sum(dim=1) + 1.0
