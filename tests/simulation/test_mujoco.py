"""The MuJoCo engine: the physics of Gymnasium, bit for bit, and a body for every simulation."""

# MuJoCo's compiled modules come without type stubs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError
from torch import Tensor

from metarl.simulation import MujocoState, TaskVectorEnv
from metarl.simulation.mujoco import ASSETS, MujocoEngine, MujocoFamily
from metarl.tasks import Tasks, TaskStreams, Uniform, make
from metarl_envs.half_cheetah import HalfCheetah

STEPS = 200
FAMILIES = ["HalfCheetahVel-v0", "HalfCheetahVelMAML-v0"]


@pytest.fixture(autouse=True)
def _log_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo appends its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


def _env(name: str = "HalfCheetahVel-v0", tasks: int = 2, episodes: int = 2, threads: int = 1):
    family = make(name)
    assert isinstance(family, MujocoFamily)
    env = TaskVectorEnv(family, tasks, episodes, threads)
    env.reset(seed=3)
    return env


def _batch(env: TaskVectorEnv) -> Any:
    assert isinstance(env.engine, MujocoEngine)
    return env.engine.batch


def _actions(count: int, steps: int = STEPS) -> np.ndarray:
    """Actions `[steps, count, 6]` in [-1, 1], float32."""
    generator = np.random.Generator(np.random.Philox(key=1))
    return generator.uniform(-1.0, 1.0, (steps, count, 6)).astype(np.float32)


def _gymnasium_at(state: Any, index: int, **options: Any) -> Any:
    """Gymnasium's half-cheetah in the state of one of our simulations."""
    env: Any = gymnasium.make("HalfCheetah-v5", **options).unwrapped
    env.reset(seed=0)
    env.set_state(state.qpos[index].copy(), state.qvel[index].copy())
    return env


# --- the same physics as Gymnasium ---------------------------------------------------------------


def test_200_steps_are_bit_identical_to_gymnasium():
    env = _env("HalfCheetahDir-v0")
    env.reset(options={"tasks": Tasks({"direction": [-1.0, 1.0]})})
    batch, actions = _batch(env), _actions(4)
    peers = [_gymnasium_at(batch, i) for i in range(4)]
    for t in range(STEPS):
        observation, reward, *_ = env.step(actions[t])
        for i, peer in enumerate(peers):
            expected, _, _, _, info = peer.step(actions[t, i])
            assert np.array_equal(batch.qpos[i], peer.data.qpos), (t, i)
            assert np.array_equal(batch.qvel[i], peer.data.qvel), (t, i)
            assert np.array_equal(observation[i], expected.astype(np.float32)), (t, i)
            # reward = direction * v - cost, and the first two environments run backward
            cost = 0.05 * torch.from_numpy(actions[t]).square().sum(dim=1)[i].double()
            velocity = (reward[i] + float(cost)) * (-1.0 if i < 2 else 1.0)
            assert velocity == pytest.approx(info["x_velocity"], rel=1e-6, abs=1e-6)


def test_the_x_velocity_is_bit_identical_to_gymnasium():
    env, actions = _env(), _actions(4, 50)
    engine = env.engine
    assert isinstance(engine, MujocoEngine)
    family = engine.family
    assert isinstance(family, HalfCheetah)
    peers = [_gymnasium_at(engine.batch, i) for i in range(4)]
    for t in range(50):
        before = engine._state
        env.step(actions[t])
        velocity = family.forward_velocity(before, engine._state)
        for i, peer in enumerate(peers):
            assert float(velocity[i]) == peer.step(actions[t, i])[4]["x_velocity"]


def test_the_maml_variant_is_bit_identical_to_gymnasium_with_one_physics_step():
    env, actions = _env("HalfCheetahVelMAML-v0"), _actions(4)
    batch = _batch(env)
    peers = [_gymnasium_at(batch, i, frame_skip=1) for i in range(4)]
    for t in range(STEPS):
        observation = env.step(actions[t])[0]
        for i, peer in enumerate(peers):
            expected = peer.step(actions[t, i])[0]
            assert np.array_equal(batch.qpos[i], peer.data.qpos), (t, i)
            assert np.array_equal(batch.qvel[i], peer.data.qvel), (t, i)
            assert np.array_equal(observation[i, :17], expected.astype(np.float32)), (t, i)


def test_the_maml_variants_centre_of_mass_is_that_of_the_new_state():
    env, actions = _env("HalfCheetahVelMAML-v0"), _actions(4, 30)
    engine = env.engine
    assert isinstance(engine, MujocoEngine)
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))  # without our sensors
    data, torso = mujoco.MjData(model), mujoco.MjModel.body(model, "torso").id
    for t in range(30):
        observation = env.step(actions[t])[0]
        for i in range(4):
            data.qpos[:], data.qvel[:] = engine.batch.qpos[i], engine.batch.qvel[i]
            mujoco.mj_forward(model, data)
            mujoco.mj_subtreeVel(model, data)
            com = engine._state.sensor("center_of_mass")[i].numpy()
            velocity = engine._state.sensor("center_of_mass_velocity")[i].numpy()
            assert np.array_equal(com, data.subtree_com[torso])
            assert np.array_equal(velocity, data.subtree_linvel[torso])
            assert np.array_equal(observation[i, 17:], data.subtree_com[torso].astype(np.float32))
            # by hand: the mass-weighted mean over the bodies
            mass = model.body_mass[1:, None]
            assert np.allclose(com, (mass * data.xipos[1:]).sum(0) / mass.sum(), atol=1e-12)


def test_the_time_step_is_that_of_the_published_environments():
    assert make("HalfCheetahVel-v0").dt == 5 * 0.01  # pyright: ignore[reportAttributeAccessIssue]
    assert make("HalfCheetahVelMAML-v0").dt == 0.01  # pyright: ignore[reportAttributeAccessIssue]


def _fields(model: mujoco.MjModel) -> dict[str, Any]:
    """Every public field of a model and of its options."""
    holders = [("", model), ("opt.", model.opt)]
    read = {
        prefix + name: getattr(holder, name)
        for prefix, holder in holders
        for name in dir(holder)
        if not name.startswith("_")
    }
    return {n: v for n, v in read.items() if isinstance(v, np.ndarray | int | float | bytes)}


SKIPPED = {"opt.disableflags"}
"""What we change of Gymnasium's model: stages of the engine that move nothing here."""


def _differing(one: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    a, b = _fields(one), _fields(other)
    assert a.keys() == b.keys()
    return {name for name in a if not np.array_equal(a[name], b[name])}


def test_the_body_equals_that_of_gymnasium_in_every_field():
    reference = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    family = make("HalfCheetahVel-v0")
    assert isinstance(family, MujocoFamily)
    assert len(_fields(reference)) > 500
    assert _differing(reference, family.model) == SKIPPED
    bit = mujoco.mjtDisableBit
    assert family.model.opt.disableflags == int(bit.mjDSBL_ISLAND) | int(bit.mjDSBL_MIDPHASE)
    assert float(family.model.body_mass.sum()) == pytest.approx(14.0, rel=1e-12)


def test_sensors_change_nothing_but_the_list_of_sensors():
    reference = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    family = make("HalfCheetahVelMAML-v0")
    assert isinstance(family, MujocoFamily)
    bookkeeping = {"names", "names_map", "nbuffer", "nnames", "nnames_map", "signature"}
    changed = _differing(reference, family.model) - bookkeeping - SKIPPED
    assert {name for name in changed if "sensor" not in name} == set()


# --- the same results however the work is cut ----------------------------------------------------


def _run(
    name: str, threads: int, tasks: list[int], episodes: int = 3, steps: int = 60
) -> list[np.ndarray]:
    """Observations and rewards `[steps, K, N, ...]` of these tasks of one list."""
    family = make(name)
    assert isinstance(family, MujocoFamily)
    env = TaskVectorEnv(family, len(tasks), episodes, threads)
    env.set_tasks(family.sample(0, 0, 4)[tasks])
    env.reset_episodes(TaskStreams.of(0, "test", 0, tasks, episodes))
    actions = _actions(4 * episodes, steps).reshape(steps, 4, episodes, 6)[:, tasks]
    results = [env.step(action.reshape(-1, 6))[:2] for action in actions]
    lead = (steps, len(tasks), episodes)
    return [np.stack(part).reshape(*lead, -1) for part in zip(*results, strict=True)]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(name, threads):
    one, many = _run(name, 1, [0, 1, 2, 3]), _run(name, threads, [0, 1, 2, 3])
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_task_does_the_same_alone_and_among_others(name):
    together = _run(name, 2, [0, 1, 2, 3])
    for tasks in ([2], [3, 1]):
        apart = _run(name, 1, tasks)
        assert all(np.array_equal(a[:, tasks], b) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_partial_reset_starts_some_episodes_and_leaves_the_others_running(name):
    full, partial, untouched = _env(name), _env(name), _env(name)
    for env in (full, partial, untouched):
        for action in _actions(4, 5):
            running = env.step(action)[0]
    fresh, _ = full.reset(seed=9)
    mixed, _ = partial.reset(seed=9, options={"reset_mask": np.array([True, False, False, True])})
    assert np.array_equal(mixed[[0, 3]], fresh[[0, 3]])
    assert np.array_equal(mixed[[1, 2]], running[[1, 2]])  # pyright: ignore[reportPossiblyUnboundVariable]
    for action in _actions(4, 20):
        started, both, went_on = (env.step(action) for env in (full, partial, untouched))
        for part in range(2):  # observation and reward
            given = np.asarray(both[part])
            assert np.array_equal(given[[0, 3]], np.asarray(started[part])[[0, 3]])
            assert np.array_equal(given[[1, 2]], np.asarray(went_on[part])[[1, 2]])


def test_the_first_observation_of_the_maml_variant_has_the_centre_of_mass_of_the_start():
    env = _env("HalfCheetahVelMAML-v0")
    env.step(_actions(4, 1)[0])
    observation, _ = env.reset()
    batch = _batch(env)
    data = mujoco.MjData(batch.model)
    for i in range(4):
        data.qpos[:] = batch.qpos[i]
        mujoco.mj_forward(batch.model, data)
        assert np.array_equal(observation[i, 17:], data.subtree_com[1].astype(np.float32))


# --- a body for every simulation -----------------------------------------------------------------


class Bodies(HalfCheetah):
    """Test family: the torso's mass and the friction of everything are scaled."""

    name = "Bodies-v0"
    parameters = {"torso_mass": Uniform(0.5, 2.0), "friction": Uniform(0.1, 2.0)}

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return self.forward_velocity(before, after)

    def physics(self, nominal: Any, tasks: Tasks) -> Mapping[str, Tensor]:
        mass = nominal["body_mass"].repeat(len(tasks), 1)
        mass[:, nominal.body("torso")] *= tasks["torso_mass"]
        friction = nominal["geom_friction"] * tasks["friction"][:, None, None]
        return {"body_mass": mass, "geom_friction": friction}


class BodiesWithoutSetConst(Bodies):
    set_const = False


NOMINAL = (1.0, 1.0)


def _bodies(*scales: tuple[float, float], family: type[Bodies] = Bodies) -> TaskVectorEnv:
    env = TaskVectorEnv(family(), len(scales), 1, threads=1)
    _set_bodies(env, *scales)
    env.reset(seed=0)
    return env


def _set_bodies(env: TaskVectorEnv, *scales: tuple[float, float]) -> None:
    mass, friction = zip(*scales, strict=True)
    env.set_tasks(Tasks({"torso_mass": mass, "friction": friction}))


def _reference(scale: tuple[float, float], set_const: bool = True) -> mujoco.MjModel:
    """Gymnasium's model, edited by hand."""
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    model.body_mass[mujoco.MjModel.body(model, "torso").id] *= scale[0]
    model.geom_friction[:] *= scale[1]
    if set_const:
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _same_start(env: TaskVectorEnv) -> None:
    """Put every simulation into the state of the first."""
    batch = _batch(env)
    batch.qpos[:], batch.qvel[:] = batch.qpos[0].copy(), batch.qvel[0].copy()
    batch.forward()


def _trajectory(env: TaskVectorEnv, steps: int = 60) -> np.ndarray:
    """Positions `[steps, n, 9]` under the same actions in every simulation."""
    actions = _actions(1, steps)
    positions = []
    for action in actions:
        env.step(action.repeat(env.num_envs, axis=0))
        positions.append(_batch(env).qpos.copy())
    return np.stack(positions)


def test_each_physics_parameter_changes_the_trajectory():
    env = _bodies(NOMINAL, (1.0, 1.0), (1.5, 1.0), (1.0, 0.2))
    _same_start(env)
    last = _trajectory(env)[-1]
    assert np.array_equal(last[0], last[1])
    assert np.abs(last[0] - last[2]).max() > 1e-3
    assert np.abs(last[0] - last[3]).max() > 1e-3
    assert np.abs(last[2] - last[3]).max() > 1e-3


@pytest.mark.parametrize("family", [Bodies, BodiesWithoutSetConst])
def test_a_changed_body_is_the_model_edited_by_hand(family):
    scales = [NOMINAL, (0.5, 1.0), (2.0, 0.3)]
    env = _bodies(*scales, family=family)
    batch = _batch(env)
    references = [_reference(scale, family.set_const) for scale in scales]
    for i, model in enumerate(references):
        assert _differing(batch.get_model(i), model) == SKIPPED
    data = [mujoco.MjData(model) for model in references]
    for i, one in enumerate(data):
        one.qpos[:], one.qvel[:] = batch.qpos[i], batch.qvel[i]
        mujoco.mj_forward(references[i], one)
    for action in _actions(3, 100):
        env.step(action)
        for i, (model, one) in enumerate(zip(references, data, strict=True)):
            one.ctrl[:] = action[i]
            mujoco.mj_step(model, one, nstep=5)
            assert np.array_equal(batch.qpos[i], one.qpos)
            assert np.array_equal(batch.qvel[i], one.qvel)


def test_without_set_const_the_derived_constants_stay_nominal():
    nominal = _reference(NOMINAL)
    derived = "body_subtreemass", "body_invweight0", "dof_M0"
    with_it = _batch(_bodies((2.0, 1.0))).get_model(0)
    without = _batch(_bodies((2.0, 1.0), family=BodiesWithoutSetConst)).get_model(0)
    for name in derived:
        assert np.array_equal(getattr(without, name), getattr(nominal, name)), name
        assert not np.array_equal(getattr(with_it, name), getattr(nominal, name)), name
    assert np.array_equal(without.body_mass, with_it.body_mass)
    # the whole body weighs 14 kg, and the torso once more
    torso = nominal.body_mass[1]
    assert with_it.body_subtreemass[1] == pytest.approx(14.0 + torso, rel=1e-12)


def test_scales_do_not_compound_over_tasks_and_resets():
    env = _bodies((2.0, 0.5), NOMINAL)
    once = [_fields(_batch(env).get_model(i)) for i in range(2)]
    for seed in range(3):
        _set_bodies(env, (2.0, 0.5), NOMINAL)
        env.reset(seed=seed)
        env.step(np.zeros((2, 6), np.float32))
        env.reset()
    again = [_fields(_batch(env).get_model(i)) for i in range(2)]
    for a, b in zip(once, again, strict=True):
        assert {name for name in a if not np.array_equal(a[name], b[name])} == set()
    assert _differing(_batch(env).get_model(0), _reference((2.0, 0.5))) == SKIPPED


@pytest.mark.parametrize("family", [Bodies, BodiesWithoutSetConst])
def test_back_at_scale_1_the_body_and_its_motion_are_nominal_bit_for_bit(family):
    env = _bodies((2.0, 0.5), (0.5, 2.0), family=family)
    env.step(np.ones((2, 6), np.float32))
    _set_bodies(env, NOMINAL, NOMINAL)
    env.reset(seed=1)
    nominal = family().model
    for i in range(2):
        assert _differing(_batch(env).get_model(i), nominal) == set()
    fresh = _bodies(NOMINAL, NOMINAL, family=family)
    fresh.reset(seed=1)
    assert np.array_equal(_trajectory(env), _trajectory(fresh))


def test_a_field_that_is_no_longer_scaled_is_nominal_again():
    class Sometimes(Bodies):
        def physics(self, nominal: Any, tasks: Tasks) -> Mapping[str, Tensor]:
            fields = dict(super().physics(nominal, tasks))
            if bool((tasks["torso_mass"] == 1.0).all()):
                del fields["body_mass"]
            return fields

    env = _bodies((2.0, 1.0), (0.5, 1.0), family=Sometimes)
    _set_bodies(env, NOMINAL, NOMINAL)
    assert _differing(_batch(env).get_model(0), _reference(NOMINAL)) == SKIPPED


def test_the_nominal_model_hands_out_copies():
    family = Bodies()
    family.nominal["body_mass"].fill_(7.0)
    assert _differing(family.model, _reference(NOMINAL)) == SKIPPED
    assert family.nominal["opt.gravity"].tolist() == [0.0, 0.0, -9.81]


@pytest.mark.parametrize("tasks", [1, 3, 8])
def test_a_physics_field_without_an_axis_of_simulations_is_refused(tasks):
    class Forgetful(Bodies):
        def physics(self, nominal: Any, tasks: Tasks) -> Mapping[str, Tensor]:
            # [8]: one number for each body (8 with the world), for all simulations
            return {"body_mass": nominal["body_mass"]}

    with pytest.raises(ValueError, match=r"body_mass.*\(8,\)"):
        _bodies(*[NOMINAL] * tasks, family=Forgetful)


# --- diverged physics ----------------------------------------------------------------------------


def _explode_velocity(env: TaskVectorEnv, value: float) -> None:
    _batch(env).qvel[1] = value


def _explode_position(env: TaskVectorEnv, value: float) -> None:
    _batch(env).qpos[1, 2] = value


def _disturbed_step(name: str, disturb: Callable[[TaskVectorEnv], None]) -> tuple[Any, np.ndarray]:
    """Disturb simulation 1 of 4 after 10 steps: that step, and the observation before it.

    The other simulations must go on as in a run without the disturbance.
    """
    env, calm = _env(name), _env(name)
    others, actions = [0, 2, 3], _actions(4, 40)
    for action in actions[:10]:
        before = env.step(action)[0]
        assert np.array_equal(before, calm.step(action)[0])
    disturb(env)
    steps = [(env.step(action), calm.step(action)) for action in actions[10:]]
    for given, expected in steps:
        for ours, undisturbed in zip(given[:4], expected[:4], strict=True):
            assert np.array_equal(np.asarray(ours)[others], np.asarray(undisturbed)[others])
        assert np.isfinite(given[0]).all()
        assert np.isfinite(given[1]).all()
    for later, _ in steps[1:]:
        assert not later[4]["failed"].any()
        assert not later[2].any()
        assert later[1][1] == 0.0
    return steps[0][0], before  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
@pytest.mark.parametrize("explode", [_explode_velocity, _explode_position])
def test_diverged_physics_ends_that_episode_alone(name, value, explode):
    step, before = _disturbed_step(name, lambda env: explode(env, value))
    observation, reward, terminated, truncated, info = step
    only_1 = [False, True, False, False]
    assert info["failed"].tolist() == terminated.tolist() == only_1
    assert not truncated.any()
    assert reward[1] == 0.0
    assert np.array_equal(observation[1], before[1])


def test_an_engine_error_ends_that_episode_alone(monkeypatch: pytest.MonkeyPatch):
    def disturb(env: TaskVectorEnv) -> None:
        batch = _batch(env)
        step = batch.step

        def raise_in_1(ids: Any = None, **options: Any) -> None:
            monkeypatch.setattr(batch, "step", step)
            # as documented: the others ran to completion, and 1 kept its state
            step(np.array([0, 2, 3]), **options)
            raise SimulationError(np.array([1], dtype=np.int32), "unknown constraint type")

        monkeypatch.setattr(batch, "step", raise_in_1)

    step, before = _disturbed_step("HalfCheetahVel-v0", disturb)
    assert step[4]["failed"].tolist() == step[2].tolist() == [False, True, False, False]
    assert step[1][1] == 0.0
    assert np.array_equal(step[0][1], before[1])


def test_an_action_that_is_not_a_number_ends_that_episode_alone():
    env = _env()
    actions = np.zeros((4, 6), np.float32)
    actions[2, 3] = np.nan
    info = env.step(actions)[4]
    assert info["failed"].tolist() == [False, False, True, False]


def test_a_diverged_episode_starts_anew_like_any_other():
    env, calm = _env(), _env()
    _explode_velocity(env, np.nan)
    env.step(np.zeros((4, 6), np.float32))
    assert np.array_equal(env.reset(seed=4)[0], calm.reset(seed=4)[0])
    for action in _actions(4, 20):
        disturbed, expected = env.step(action), calm.step(action)
        assert np.array_equal(disturbed[0], expected[0])
        assert not disturbed[4]["failed"].any()


def test_a_reset_of_the_others_does_not_show_a_diverged_state():
    env = _env()
    last = env.step(np.zeros((4, 6), np.float32))[0]
    _explode_velocity(env, np.nan)
    env.step(np.zeros((4, 6), np.float32))
    mask = np.array([True, False, False, False])
    observation, _ = env.reset(options={"reset_mask": mask})
    assert np.array_equal(observation[1], last[1])


# --- states and ended episodes -------------------------------------------------------------------


def test_an_ended_episode_is_not_simulated():
    env = _env()
    _explode_velocity(env, np.nan)
    env.step(np.zeros((4, 6), np.float32))
    batch = _batch(env)
    time, qpos = batch.bind("time").copy(), batch.qpos.copy()
    env.step(np.ones((4, 6), np.float32))
    assert np.array_equal(batch.qpos[1], qpos[1])
    # five physics steps of 0.01 s for the others, none for the one that ended
    passed = batch.bind("time") - time
    assert np.allclose(passed, [0.05, 0.0, 0.05, 0.05], atol=1e-12)


def test_a_state_is_a_copy_of_the_engines():
    env = _env()
    engine = env.engine
    assert isinstance(engine, MujocoEngine)
    state = engine._state
    kept = state.qpos.clone()
    env.step(np.ones((4, 6), np.float32))
    assert torch.equal(state.qpos, kept)
    engine._state.qpos.fill_(77.0)
    assert not (engine.batch.qpos == 77.0).any()


def test_an_unknown_field_of_the_state_is_answered_with_what_to_do():
    env = _env()
    engine = env.engine
    assert isinstance(engine, MujocoEngine)
    with pytest.raises(AttributeError, match=r"no field 'xpos'.*`fields` \(qpos, qvel\)"):
        _ = engine._state.xpos


def test_position_fields_are_those_of_the_new_state_where_the_family_asks_for_it():
    class Refreshed(Bodies):
        fields = ("qpos", "qvel", "xpos")
        refresh_fields = True

    class Lagging(Refreshed):
        refresh_fields = False

    for family, current in ((Refreshed, True), (Lagging, False)):
        env = _bodies((1.0, 1.0), family=family)
        env.step(np.ones((1, 6), np.float32))
        engine = env.engine
        assert isinstance(engine, MujocoEngine)
        # the torso stands at (rootx, rootz + 0.7)
        x = float(engine._state.xpos[0, 1, 0])
        assert (x == float(engine._state.qpos[0, 0])) is current


def test_start_noise_is_that_of_the_published_environments():
    for name, position in (("HalfCheetahVel-v0", "uniform"), ("HalfCheetahVelMAML-v0", "normal")):
        env = _env(name, tasks=1, episodes=400)
        qpos, qvel = _batch(env).qpos, _batch(env).qvel
        # 3600 numbers: a standard deviation is known to 1.2 %; 5 %
        if position == "uniform":
            assert np.abs(qpos).max() <= 0.1
            assert qpos.std() == pytest.approx(0.2 / np.sqrt(12.0), rel=0.05)
        else:
            assert qpos.std() == pytest.approx(0.01, rel=0.05)
        assert qvel.std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_actions_are_the_motors_control_ranges(name):
    assert make(name).action_space == gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
