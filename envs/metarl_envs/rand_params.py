"""Random body parameters: the tasks of rand_param_envs, for any robot."""

from collections.abc import Mapping

from torch import Tensor

from metarl.simulation import MujocoFamily
from metarl.simulation.mujoco import NominalModel
from metarl.tasks import LogUniform, Parameter, Tasks

LOG_SCALE_LIMIT = 3.0
"""L: exponents are uniform on [-L, L]."""
BODY_BASE = 1.5
"""Base of the multipliers of mass, inertia and friction: 1.5^u."""
DAMPING_BASE = 1.3
"""Base of the multipliers of joint damping: 1.3^u."""
ROOT_DOFS = 3
"""Degrees of freedom of a planar robot's root, which have no damping to scale."""


def scale(base: float, shape: tuple[int, ...], low: float, high: float) -> LogUniform:
    """base^u with u ~ U[low, high], elementwise: log-uniform from base^low to base^high."""
    return LogUniform(base**low, base**high, shape)


def random_parameters(bodies: int, joints: int, geoms: int) -> dict[str, Parameter]:
    """Multipliers for a planar robot with this many moving bodies, joints and geoms."""
    limit = LOG_SCALE_LIMIT
    return {
        "mass_scale": scale(BODY_BASE, (bodies,), -limit, limit),
        "inertia_scale": scale(BODY_BASE, (bodies, 3), -limit, limit),
        "damping_scale": scale(DAMPING_BASE, (joints,), -limit, limit),
        "friction_scale": scale(BODY_BASE, (geoms, 3), -limit, limit),
    }


def ood_parameters(joints: int, geoms: int) -> dict[str, Parameter]:
    """More damping in the joints (u ~ U[L, L + 1]) on more slippery ground (u ~ U[-L - 1, -L])."""
    limit = LOG_SCALE_LIMIT
    return {
        "damping_scale": scale(DAMPING_BASE, (joints,), limit, limit + 1.0),
        "friction_scale": scale(BODY_BASE, (geoms, 3), -limit - 1.0, -limit),
    }


class RandParamsFamily(MujocoFamily):
    """A planar robot whose tasks are `random_parameters`; mix it in before the robot's class."""

    def physics(self, nominal: NominalModel, tasks: Tasks) -> Mapping[str, Tensor]:
        mass, inertia, damping, friction = (
            nominal[name].repeat(len(tasks), *[1] * nominal[name].dim())
            for name in ("body_mass", "body_inertia", "dof_damping", "geom_friction")
        )
        mass[:, 1:] *= tasks["mass_scale"]  # body 0 is the world
        inertia[:, 1:] *= tasks["inertia_scale"]
        damping[:, ROOT_DOFS:] *= tasks["damping_scale"]
        friction *= tasks["friction_scale"]
        return {
            "body_mass": mass,
            "body_inertia": inertia,
            "dof_damping": damping,
            "geom_friction": friction,
        }
