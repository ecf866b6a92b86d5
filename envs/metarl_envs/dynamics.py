"""Changed bodies and worlds for continual learning: the tasks of CSP, for any robot."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError, nearest
from metarl.simulation import MujocoFamily
from metarl.simulation.mujoco import NominalModel
from metarl.tasks import ElementwiseChoice, LogUniform, Parameter, Tasks, Uniform


def dynamics_parameters(
    observations: int, actions: int, largest_foot: float
) -> dict[str, Parameter]:
    """The training ranges, for a robot with this many observations and actions."""
    return {
        "gravity": LogUniform(0.15, 2.0),
        "friction": LogUniform(0.375, 1.5),
        "torso_mass": LogUniform(0.5, 4.0),
        "foot_size": Uniform(0.5, largest_foot),
        "observation_mask": ElementwiseChoice((0.0, 1.0), (observations,), (0.1, 0.9)),
        "action_scale": ElementwiseChoice((-1.0, 0.0, 1.0), (actions,), (0.1, 0.1, 0.8)),
    }


OOD_PARAMETERS: Mapping[str, Parameter] = {
    "gravity": Uniform(2.0, 2.5),
    "friction": LogUniform(0.25, 0.375),
    "torso_mass": Uniform(4.0, 5.0),
}


def half_masked(observations: int) -> list[float]:
    """CSP's defective module: a fixed half (rounded down) of the observations is masked."""
    mask = [0.0] * (observations // 2) + [1.0] * (observations - observations // 2)
    return np.random.RandomState(0).permutation(mask).tolist()


class DynamicsFamily(MujocoFamily):
    """A robot whose tasks multiply gravity, friction, torso mass and foot size, and mask signals.

    Mix it in before the robot's class; name the torso's body and the feet's geoms.
    """

    torso: ClassVar[str] = "torso"
    feet: ClassVar[tuple[str, ...]]
    """Capsules whose radius, and whose body's mass and inertia, `foot_size` multiplies."""
    visible_parameters = ("observation_mask",)

    def task(self, values: Mapping[str, Any]) -> Tasks:
        """One task, a batch of one: the nominal robot's, but for these parameters."""
        unknown = [name for name in values if name not in self.parameters]
        if unknown:
            hint = nearest(unknown[0], self.parameters)
            raise UserError(f"{self.name} has no task parameter {unknown[0]!r}; {hint}")
        full = {name: _whole(values.get(name, 1.0), p.shape) for name, p in self.parameters.items()}
        return super().task(full)

    def physics(self, nominal: NominalModel, tasks: Tasks) -> Mapping[str, Tensor]:
        names = ("opt.gravity", "geom_friction", "body_mass", "body_inertia")
        names += ("geom_size", "geom_rbound")
        fields = {n: nominal[n].repeat(len(tasks), *[1] * nominal[n].dim()) for n in names}
        foot = tasks["foot_size"].unsqueeze(1)
        geoms = [nominal.geom(name) for name in self.feet]
        bodies = nominal["geom_bodyid"][geoms].tolist()
        fields["opt.gravity"] *= tasks["gravity"].unsqueeze(1)
        fields["geom_friction"] *= tasks["friction"].view(-1, 1, 1)
        fields["body_mass"][:, nominal.body(self.torso)] *= tasks["torso_mass"]
        fields["body_inertia"][:, nominal.body(self.torso)] *= tasks["torso_mass"].unsqueeze(1)
        fields["body_mass"][:, bodies] *= foot
        fields["body_inertia"][:, bodies] *= foot.unsqueeze(2)
        # A capsule's bounding sphere grows as its radius does; without it contacts would be missed.
        fields["geom_rbound"][:, geoms] += fields["geom_size"][:, geoms, 0] * (foot - 1.0)
        fields["geom_size"][:, geoms, 0] *= foot
        return fields

    def control(self, action: Tensor, tasks: Tasks) -> Tensor:
        return action * tasks["action_scale"]


def masked(observation: Tensor, tasks: Tasks) -> Tensor:
    """The observation `[n, O]` with masked numbers at zero, whatever they were."""
    return torch.where(tasks["observation_mask"] > 0, observation, 0.0)


def _whole(value: Any, shape: tuple[int, ...]) -> Any:
    """One number stands for all elements."""
    return np.broadcast_to(value, shape) if np.ndim(value) == 0 else value
