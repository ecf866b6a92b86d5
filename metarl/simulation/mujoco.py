"""MuJoCo robots: families on batched tensors, stepped by `mujoco.batch.Batch`.

All contact with MuJoCo is in this file, but for its pictures (`camera`) and its profiler's switch.
"""

# MuJoCo's compiled modules come without type stubs.
# pyright: reportAttributeAccessIssue=false

import math
import os
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError

try:
    import mujoco
except Exception as error:  # whatever PyOpenGL raises: MuJoCo imports what MUJOCO_GL names
    if not os.environ.get("MUJOCO_GL"):
        raise
    raise UserError(
        f"MuJoCo cannot be imported with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}); unset it "
        "to have one chosen that works, or install libegl1 (egl) or libosmesa6 (osmesa)"
    ) from error

from gymnasium.envs.mujoco import mujoco_env
from mujoco.batch import Batch, SimulationError

from metarl.simulation.engine import Engine, SimulatedFamily, StepResult
from metarl.simulation.profiling import set_profiling
from metarl.tasks import Tasks, TaskStreams

if TYPE_CHECKING:
    from metarl.simulation.camera import MujocoCamera

ASSETS = Path(mujoco_env.__file__).parent / "assets"
"""Gymnasium's own robot files."""

# Other warnings (a full contact buffer, say) leave a state that is still physics.
_DIVERGED = [
    mujoco.mjtWarning.mjWARN_BADQPOS.value,
    mujoco.mjtWarning.mjWARN_BADQVEL.value,
    mujoco.mjtWarning.mjWARN_BADQACC.value,
    mujoco.mjtWarning.mjWARN_BADCTRL.value,
    mujoco.mjtWarning.mjWARN_INERTIA.value,
]


class MujocoState:
    """The state of n simulations: a tensor `[n, ...]` for each of the family's `fields`.

    Fields have the names and units of MuJoCo's `MjData` (m, rad, s). The tensors are copies: they
    do not move when the physics does.
    """

    def __init__(self, fields: Mapping[str, Tensor], sensors: Mapping[str, slice]):
        self._fields = fields
        self._sensors = sensors

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(
                f"no field {name!r} in this state; add it to the family's `fields` "
                f"({', '.join(self._fields)})"
            )
        return self._fields[name]

    def sensor(self, name: str) -> Tensor:
        """Readings `[n, size]` of one of the family's `sensors`."""
        return self.sensordata[:, self._sensors[name]]

    def rows(self, ids: Tensor) -> "MujocoState":
        """The state of these simulations alone."""
        fields = {name: values[ids] for name, values in self._fields.items()}
        return MujocoState(fields, self._sensors)

    def replace_rows(self, ids: Tensor, state: "MujocoState") -> None:
        """Take the state of these simulations from another one's rows."""
        for name, values in self._fields.items():
            values[ids] = state._fields[name]


class MujocoFamily(SimulatedFamily):
    """A family of tasks for one robot.

    A subclass names the robot's file and writes `observation`, `reward`, and where they differ
    from the defaults `terminated`, `reset` and `physics`, as functions of batched tensors: `n`
    rows, one for each environment, in `state`, `action` and `tasks` alike.
    """

    max_shards = 4
    xml: ClassVar[str]
    """The robot's MJCF file: one of Gymnasium's by its name, or a path."""
    frame_skip: int = 5
    """Physics steps per time step."""
    fields: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    """The fields of MuJoCo's `MjData` that `MujocoState` holds."""
    sensors: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Sensors to add to the robot, `{name: (kind, body)}` with a kind of MuJoCo's sensors on
    bodies such as `subtreecom` or `subtreelinvel`; `state.sensor(name)` reads them."""
    refresh_fields: ClassVar[bool] = False
    """Compute position- and velocity-dependent fields and sensors at the new state; else all but
    qpos and qvel lag one physics step behind, as in MuJoCo itself."""
    disabled: ClassVar[tuple[str, ...]] = ("island", "midphase")
    """Stages of the engine to skip, by the names of MuJoCo's disable flags. These two pay in large
    scenes; a single robot moves the same without them, a tenth faster: bit for bit, unless contacts
    come in another order (test your robot)."""
    timestep: ClassVar[float | None] = None
    """Seconds of a physics step; None: as in the robot's file."""
    contact_forces: ClassVar[bool] = False
    """Compute `cfrc_ext`, the contact forces on each body in the last physics step, for families
    that list it in `fields`; MuJoCo leaves it at zero unless it is asked to."""
    set_const: ClassVar[bool] = True
    """Derive MuJoCo's constants (inverse inertias, ...) anew after `physics` changed the body."""

    @abstractmethod
    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        """Observations `[n, size]`; must not show the task."""

    @abstractmethod
    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        """Rewards `[n]` of the step from `before` to `after`."""

    def terminated(self, state: MujocoState, tasks: Tasks) -> Tensor:
        """Whether the episode ends in this state, bool `[n]`; never unless overridden."""
        return torch.zeros(len(state.qpos), dtype=torch.bool, device=state.qpos.device)

    @property
    def ends_early(self) -> bool:
        """Whether the family says when an episode ends."""
        return type(self).terminated is not MujocoFamily.terminated

    @abstractmethod
    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """Initial positions `[n, nq]` and velocities `[n, nv]`, float64."""

    def control(self, action: Tensor, tasks: Tasks) -> Tensor:
        """Controls `[n, nu]` of the actuators; the action itself unless overridden."""
        return action

    def physics(self, nominal: "NominalModel", tasks: Tasks) -> Mapping[str, Tensor]:
        """Model fields of each simulation, `{field: [n, ...]}`, computed from the nominal model.

        For example `{"body_mass": nominal["body_mass"] * tasks["mass_scale"][:, None]}`. Fields
        that are not returned are nominal. Unless overridden, all tasks share one body.
        """
        return {}

    @cached_property
    def dt(self) -> float:
        """Seconds of a time step."""
        return self.frame_skip * float(self.model.opt.timestep)

    @cached_property
    def action_space(self) -> gymnasium.spaces.Box:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The actuators' control ranges."""
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The nominal body, as compiled from `xml`, with the family's sensors."""
        path = Path(self.xml)
        spec = mujoco.MjSpec.from_file(str(path if path.is_absolute() else ASSETS / path))
        for name, (kind, body) in self.sensors.items():
            kind_id = getattr(mujoco.mjtSensor, f"mjSENS_{kind.upper()}")
            spec.add_sensor(name=name, type=kind_id, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=body)
        if self.contact_forces:
            # MuJoCo computes cfrc_ext where, and only where, a sensor of accelerations needs it.
            body = spec.bodies[1].name
            kind_id = mujoco.mjtSensor.mjSENS_FRAMELINACC
            spec.add_sensor(type=kind_id, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=body)
        if self.timestep is not None:
            spec.option.timestep = self.timestep
        # The attribute `settotalmass` is deprecated and warns on every load; the function that
        # replaces it gives the same model, bit for bit.
        total_mass = spec.compiler.settotalmass
        spec.compiler.settotalmass = -1
        model = spec.compile()
        if total_mass > 0:
            mujoco.mj_setTotalmass(model, total_mass)
            mujoco.mj_setConst(model, mujoco.MjData(model))
        for name in self.disabled:
            flag = getattr(mujoco.mjtDisableBit, f"mjDSBL_{name.upper()}")
            model.opt.disableflags |= int(flag)
        return model

    @cached_property
    def nominal(self) -> "NominalModel":
        """The nominal model's fields as tensors."""
        return NominalModel(self.model)

    def make_engine(self, environments: int, threads: int) -> Engine:
        return MujocoEngine(self, environments, threads)


class NominalModel:
    """The compiled model's fields as fresh tensors, so that scaling them can never compound."""

    def __init__(self, model: mujoco.MjModel):
        self._model = model

    def __getitem__(self, field: str) -> Tensor:
        """A field of `MjModel` such as `body_mass` `[nbody]`, or of its options, `opt.gravity`."""
        holder, name = (
            (self._model.opt, field[4:]) if field.startswith("opt.") else (self._model, field)
        )
        return torch.from_numpy(np.array(getattr(holder, name)))

    def body(self, name: str) -> int:
        """A body's index."""
        return int(self._model.body(name).id)

    def geom(self, name: str) -> int:
        """A geom's index."""
        return int(self._model.geom(name).id)


class MujocoEngine:
    """Steps n simulations of a `MujocoFamily` on a pool of C++ threads.

    Results are bit-identical for any number of threads. The first engine switches MuJoCo's profiler
    off in this process.
    """

    def __init__(self, family: MujocoFamily, environments: int, threads: int):
        self.family = family
        set_profiling(False)
        # With one MjData for each simulation, the fields that are refreshed at the end of a step
        # are where the next step continues, and so cost nothing; else sharing one is faster.
        self.batch = Batch(family.model, environments, threads, persistent=family.refresh_fields)
        fields = (*family.fields, "sensordata") if family.sensors else family.fields
        self._views = {name: self.batch.bind(name) for name in fields}
        self._sensors = {name: _slice_of(family.model.sensor(name)) for name in family.sensors}
        at_new_state = mujoco.mjtStage.mjSTAGE_VEL
        stage = at_new_state if family.refresh_fields else mujoco.mjtStage.mjSTAGE_NONE
        self._stage = stage.value
        self._expanded: set[str] = set()
        self._tasks: Tasks
        self._state: MujocoState
        self._camera: MujocoCamera | None = None

    def set_tasks(self, tasks: Tasks) -> None:
        self._tasks = tasks
        fields = self.family.physics(self.family.nominal, tasks)
        for name in self._expanded - fields.keys():
            self.batch.expand(name)[...] = self.family.nominal[name].numpy()
        for name, values in fields.items():
            view = self.batch.expand(name)
            if tuple(values.shape) != view.shape:  # or it might broadcast along the wrong axis
                raise ValueError(
                    f"physics of {self.family.name} must give {name} the shape {view.shape}, "
                    f"got {tuple(values.shape)}"
                )
            view[...] = values.numpy(force=True)
        self._expanded |= fields.keys()
        if self._expanded and self.family.set_const:
            try:
                self.batch.set_const()
            except SimulationError as error:
                raise UserError(
                    f"{self.family.name}: tasks with impossible physics: {error}; "
                    "narrow the ranges of its parameters"
                ) from error

    def reset(self, streams: TaskStreams, ids: Tensor | None) -> Tensor:
        qpos, qvel = self.family.reset(streams, self._tasks)
        numpy_ids = None if ids is None else ids.numpy()
        rows = slice(None) if numpy_ids is None else numpy_ids
        # Clears time, warm start and warning counters too.
        self.batch.reset(numpy_ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.batch.qpos[rows] = qpos.numpy()[rows]
        self.batch.qvel[rows] = qvel.numpy()[rows]
        self.batch.forward(numpy_ids)
        self._state = self._read()
        return self.family.observation(self._state, self._tasks)

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        tasks, before, count = self._tasks, self._state, len(actions)
        self.batch.ctrl = self.family.control(actions, tasks).numpy()
        errors = self._advance(None if ids is None else ids.numpy())
        if ids is not None:  # where most episodes have ended, most of the work is spared
            tasks, before, actions, errors = tasks[ids], before.rows(ids), actions[ids], errors[ids]
        after = self._read(ids)
        reward = self.family.reward(before, after, actions, tasks)
        result = StepResult(
            self.family.observation(after, tasks),
            reward,
            self.family.terminated(after, tasks),
            errors | self._diverged(after, reward, ids),
        )
        if ids is None:
            self._state = after
            return result
        self._state.replace_rows(ids, after)
        return StepResult(*(_spread(values, ids, count) for values in result))

    def copy_state(self, source: int) -> Tensor:
        self.batch.state[...] = self.batch.state[source].copy()
        self.batch.forward()
        self._state = self._read()
        return self.family.observation(self._state, self._tasks)

    def frame(self, index: int, width: int, height: int) -> np.ndarray:
        # Late: rare, and OpenGL is not on every machine.
        from metarl.simulation.camera import MujocoCamera

        model, data = self.batch.get_model(index), self.batch.get_data(index)
        if self._camera is not None and self._camera.size != (width, height):
            self.close()
        self._camera = self._camera or MujocoCamera(model, width, height)
        return self._camera.picture(model, data)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _advance(self, ids: np.ndarray | None) -> Tensor:
        """Step the physics; bool `[n]`, the simulations in which the engine raised an error."""
        errors = torch.zeros(self.batch.nsim, dtype=torch.bool)
        try:
            self.batch.step(ids, nstep=self.family.frame_skip, stage=self._stage)
        except SimulationError as error:
            errors[torch.from_numpy(np.asarray(error.ids, dtype=np.int64))] = True
        return errors

    def _diverged(self, state: MujocoState, reward: Tensor, ids: Tensor | None) -> Tensor:
        # MuJoCo resets a diverged simulation by itself and only counts a warning, so that finite
        # numbers alone prove nothing.
        qpos, qvel = state.qpos, state.qvel
        total = float(qpos.sum() + qvel.sum() + reward.sum())
        if math.isfinite(total) and not self.batch.warning[:, :, 1].any():
            return torch.zeros(len(reward), dtype=torch.bool)
        warned = torch.from_numpy(self.batch.warning[:, _DIVERGED, 1].any(axis=1))
        warned = warned if ids is None else warned[ids]
        finite = torch.isfinite(qpos).all(1) & torch.isfinite(qvel).all(1)
        return warned | ~(finite & torch.isfinite(reward))

    def _read(self, ids: Tensor | None = None) -> MujocoState:
        # Rows by index are a copy already.
        rows = {n: v.copy() if ids is None else v[ids.numpy()] for n, v in self._views.items()}
        fields = {name: torch.from_numpy(values) for name, values in rows.items()}
        return MujocoState(fields, self._sensors)


def _spread(values: Tensor, ids: Tensor, count: int) -> Tensor:
    """Rows of `[count, ...]`, zero where `ids` names none."""
    return values.new_zeros(count, *values.shape[1:]).index_copy_(0, ids, values)


def _slice_of(sensor: Any) -> slice:
    start = int(sensor.adr[0])
    return slice(start, start + int(sensor.dim[0]))
