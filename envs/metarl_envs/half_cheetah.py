"""The half-cheetah: tasks that vary the reward, the body or the world."""

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform, register
from metarl_envs import rand_params
from metarl_envs.dynamics import (
    OOD_PARAMETERS,
    DynamicsFamily,
    dynamics_parameters,
    half_masked,
    masked,
)

CONTROL_COST = 0.05
"""Reward lost per squared unit of action."""


class HalfCheetah(MujocoFamily):
    """Gymnasium's half-cheetah (HalfCheetah-v5): a time step is 5 physics steps of 0.01 s.

    Observation `[17]`: qpos[1:] (height in m, pitch and six joint angles in rad), qvel (9
    velocities in m/s and rad/s). The position along x is not in it.
    Action `[6]`: joint torques as fractions of the motors' gear, in [-1, 1].
    Start: qpos + U[-0.1, 0.1), qvel + 0.1 N(0, 1), as HalfCheetah-v5.
    Termination: never. Horizon 200.
    """

    robot = "half-cheetah"
    xml = "half_cheetah.xml"
    frame_skip = 5
    horizon = 200
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        initial = self.nominal["qpos0"]
        qpos = initial + random.uniform(-0.1, 0.1, (self.model.nq,))
        return qpos, random.normal(0.1, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 1:], state.qvel], dim=1)

    def forward_velocity(self, before: MujocoState, after: MujocoState) -> Tensor:
        """Mean velocity of the torso along x during the step, m/s `[n]`."""
        return (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt


class HalfCheetahMAML(HalfCheetah):
    """The half-cheetah of the MAML paper: a time step is one physics step of 0.01 s.

    Observation `[20]`: as `HalfCheetah`, then the centre of mass of the whole body (x, y, z) in m.
    x is absolute, so the observation shows how far the robot has run.
    Start: qpos + 0.01 N(0, 1), qvel + 0.1 N(0, 1), as rllab's MujocoEnv.
    Velocity is that of the centre of mass of the whole body at the end of the step, m/s.
    Everything else as `HalfCheetah`; rllab's body equals Gymnasium's in time step and gears.
    Source: cbfinn/maml_rl, rllab/envs/mujoco/{half_cheetah_env_rand,mujoco_env}.py.
    """

    frame_skip = 1
    sensors = {
        "center_of_mass": ("subtreecom", "torso"),
        "center_of_mass_velocity": ("subtreelinvel", "torso"),
    }
    refresh_fields = True
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (20,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        initial = self.nominal["qpos0"]
        qpos = initial + random.normal(0.01, (self.model.nq,))
        return qpos, random.normal(0.1, (self.model.nv,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos[:, 1:], state.qvel, state.sensor("center_of_mass")], dim=1)

    def forward_velocity(self, before: MujocoState, after: MujocoState) -> Tensor:
        """Velocity of the centre of mass along x after the step, m/s `[n]`."""
        return after.sensor("center_of_mass_velocity")[:, 0]


def _velocity_reward(speed: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
    return -(speed - tasks["velocity"]).abs() - CONTROL_COST * action.square().sum(dim=1)


def _direction_reward(speed: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
    return tasks["direction"] * speed - CONTROL_COST * action.square().sum(dim=1)


@register("HalfCheetahVel-v0")
class HalfCheetahVel(HalfCheetah):
    """Run forward at a hidden target velocity.

    Observation, action, start, termination: see `HalfCheetah`. Horizon 200.
    Reward: -|v - velocity| - 0.05 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: `velocity` ~ U[0, 3] m/s; out of distribution: U[3, 4] m/s.
    Source: ProMP (Rothfuss et al. 2019) half_cheetah_rand_vel.py and PEARL (Rakelly et al. 2019)
        half_cheetah_vel.py, on Gymnasium's v5 body.
    """

    parameters = {"velocity": Uniform(0.0, 3.0)}
    ood_parameters = {"velocity": Uniform(3.0, 4.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return _velocity_reward(self.forward_velocity(before, after), action, tasks)


@register("HalfCheetahDir-v0")
class HalfCheetahDir(HalfCheetah):
    """Run as fast as possible in a hidden direction, forward or backward.

    Observation, action, start, termination: see `HalfCheetah`. Horizon 200.
    Reward: direction * v - 0.05 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: `direction`, -1 or +1 with equal probability. There are two tasks only, so
        every split holds both and there is no task out of distribution.
    Source: Finn et al. 2017 (MAML), section 5.3; PEARL half_cheetah_dir.py, on Gymnasium's v5 body.
    """

    parameters = {"direction": Choice([-1.0, 1.0])}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return _direction_reward(self.forward_velocity(before, after), action, tasks)


@register("HalfCheetahVelMAML-v0")
class HalfCheetahVelMAML(HalfCheetahMAML):
    """Run forward at a hidden target velocity: the MAML paper's variant.

    Observation, action, start, termination: see `HalfCheetahMAML`. Horizon 200 (2 s).
    Reward: -|v - velocity| - 0.05 |action|^2, with v the velocity of the centre of mass along x.
    Task parameters: `velocity` ~ U[0, 2] m/s; out of distribution: U[2, 3] m/s.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl half_cheetah_env_rand.py.
    """

    parameters = {"velocity": Uniform(0.0, 2.0)}
    ood_parameters = {"velocity": Uniform(2.0, 3.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return _velocity_reward(self.forward_velocity(before, after), action, tasks)


@register("HalfCheetahDirMAML-v0")
class HalfCheetahDirMAML(HalfCheetahMAML):
    """Run as fast as possible in a hidden direction: the MAML paper's variant.

    Observation, action, start, termination: see `HalfCheetahMAML`. Horizon 200 (2 s).
    Reward: direction * v - 0.05 |action|^2, with v the velocity of the centre of mass along x.
    Task parameters: `direction`, -1 or +1 with equal probability. There are two tasks only, so
        every split holds both and there is no task out of distribution.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl half_cheetah_env_rand_direc.py.
    """

    parameters = {"direction": Choice([-1.0, 1.0])}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return _direction_reward(self.forward_velocity(before, after), action, tasks)


@register("HalfCheetahVelLegacy-v0")
class HalfCheetahVelLegacy(HalfCheetah):
    """Run forward at a hidden target velocity, as the first ports of the MAML paper's code had it.

    Observation `[20]`: as `HalfCheetah`, then the torso's position (x, y, z) in m. x is absolute,
        so the observation shows how far the robot has run.
    Action, start, termination: see `HalfCheetah`. Horizon 100.
    Reward: -|v - velocity| - 0.05 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: `velocity` ~ U[0, 2] m/s; out of distribution: U[2, 3] m/s.
    Source: tristandeleu/pytorch-maml-rl maml_rl/envs/mujoco/half_cheetah.py, and garage, on
        Gymnasium's v5 body. Both let the policy's [-10, 10] cover the action box (the preset's
        `action_scaling: ten`), which makes an inner step ten times smaller than with [-1, 1].
    """

    horizon = 100
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (20,), np.float32)
    parameters = {"velocity": Uniform(0.0, 2.0)}
    ood_parameters = {"velocity": Uniform(2.0, 3.0)}

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        x, z = state.qpos[:, :1], state.qpos[:, 1:2]
        position = torch.cat([x, torch.zeros_like(x), z], dim=1)
        position = position + self.nominal["body_pos"][self.nominal.body("torso")]
        return torch.cat([state.qpos[:, 1:], state.qvel, position], dim=1)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return _velocity_reward(self.forward_velocity(before, after), action, tasks)


@register("HalfCheetahRandParams-v0")
class HalfCheetahRandParams(rand_params.RandParamsFamily, HalfCheetah):
    """Run forward with a body whose masses, inertias, damping and friction are unknown.

    Observation, action, start, termination: see `HalfCheetah`. Horizon 200.
    Reward: v - 0.05 |action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: multipliers of the nominal body, elementwise and independent.
        `mass_scale` [7], per body, `inertia_scale` [7, 3], per body and axis, and
        `friction_scale` [9, 3], per geom and coefficient: 1.5^u with u ~ U[-3, 3], that is
        log-uniform on [0.296296, 3.375]; `damping_scale` [6], per joint: 1.3^u, on
        [0.455166, 2.197]. Out of distribution: damping_scale 1.3^U[3, 4] with
        friction_scale 1.5^U[-4, -3], heavily damped joints on slippery ground.
        MuJoCo's derived constants follow the body (mj_setConst).
    Source: the multipliers of dennisl88/rand_param_envs base.py (log_scale_limit 3.0), which has no
        half-cheetah of its own, with the reward of the MAML paper's forward direction.
    """

    parameters = rand_params.random_parameters(bodies=7, joints=6, geoms=9)
    ood_parameters = rand_params.ood_parameters(joints=6, geoms=9)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        cost = CONTROL_COST * action.square().sum(dim=1)
        return self.forward_velocity(before, after) - cost


@register("HalfCheetahDynamics-v0")
class HalfCheetahDynamics(DynamicsFamily, HalfCheetah):
    """Run forward as fast as possible while body, world and signals are changed.

    Observation: see `HalfCheetah`; numbers that the task masks are 0.
    Action, start, termination: see `HalfCheetah`; the motors get the action times `action_scale`.
        Horizon 200.
    Reward: v - 0.1 |applied action|^2, with v the torso's mean velocity along x in m/s.
    Task parameters: multipliers of the nominal robot. `gravity` ~ log-uniform on [0.15, 2];
        `friction` (all geoms) ~ log-uniform on [0.375, 1.5]; `torso_mass` (and inertia) ~
        log-uniform on [0.5, 4]; `foot_size` (radius, and mass and inertia in proportion, of both
        feet) ~ U[0.5, 1.5]; `observation_mask` [17], each 0 with probability 0.1, else 1, visible
        as zeros in the observation; `action_scale` [6], each -1 (inverted) or 0 (masked) with
        probability 0.1, else 1. Out of distribution: gravity U[2, 2.5], friction log-uniform on
        [0.25, 0.375], torso_mass U[4, 5]. `named_tasks` are CSP's scenarios.
    Source: CSP (Gaya et al. 2023), facebookresearch/salina, branch salina_cl,
        salina_cl/scenarios/brax/halfcheetah.py, on Gymnasium's v5 body and reward.
    """

    feet = ("bfoot", "ffoot")
    parameters = dynamics_parameters(observations=17, actions=6, largest_foot=1.5)
    ood_parameters = OOD_PARAMETERS
    named_tasks = {
        "normal": {},
        "tinyfoot": {"foot_size": 0.5},
        "hugefoot": {"foot_size": 1.5},
        "carry_stuff": {"torso_mass": 4.0},
        "moon": {"gravity": 0.15},
        "hugegravity": {"gravity": 1.5},
        "rainfall": {"friction": 0.4},
        "hugefriction": {"friction": 1.5},
        "tinyfoot_moon": {"foot_size": 0.5, "gravity": 0.15},
        "hugefoot_rainfall": {"foot_size": 1.5, "friction": 0.4},
        "carry_stuff_hugegravity": {"torso_mass": 4.0, "gravity": 1.5},
        "defective_module": {"observation_mask": half_masked(17)},
        "inverted_actions": {"action_scale": -1.0},
        "crippled_back_leg": {"action_scale": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]},
        "crippled_front_leg": {"action_scale": [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]},
        **{f"gravity_{level / 5}": {"gravity": level / 5} for level in range(1, 11)},
    }

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return masked(super().observation(state, tasks), tasks)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        applied = self.control(action, tasks)
        return self.forward_velocity(before, after) - 0.1 * applied.square().sum(dim=1)
