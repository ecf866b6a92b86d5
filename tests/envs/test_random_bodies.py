"""Random bodies (hopper, walker, half-cheetah): multipliers, time steps, derived constants."""

from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make
from tests.envs.states import reward, state

FAMILIES = ["HopperRandParams-v0", "Walker2dRandParams-v0", "HalfCheetahRandParams-v0"]
LEGACY = ["HopperRandParamsLegacy-v0", "Walker2dRandParamsLegacy-v0"]


def tasks_of(family: Any, count: int, **values: Any) -> Tasks:
    """Nominal multipliers but for these."""
    found = {key: np.ones((count, *kind.shape)) for key, kind in family.parameters.items()}
    for key, value in values.items():
        found[key][...] = value
    return Tasks(found)


def fields_after(name: str, tasks: Tasks) -> Any:
    family: Any = make(name)
    env = TaskVectorEnv(family, len(tasks), threads=1)
    env.reset(seed=0, options={"tasks": tasks})
    return env.engine.batch  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", FAMILIES + LEGACY)
def test_every_body_joint_and_geom_has_its_own_multiplier(name):
    family: Any = make(name)
    model = family.model
    shapes = {key: kind.shape for key, kind in family.parameters.items()}
    assert shapes == {
        "mass_scale": (model.nbody - 1,),
        "inertia_scale": (model.nbody - 1, 3),
        "damping_scale": (model.nv - 3,),
        "friction_scale": (model.ngeom, 3),
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_multipliers_have_the_published_ranges(name):
    drawn = make(name).sample(0, 0, 400)
    for key, base in (("mass_scale", 1.5), ("damping_scale", 1.3)):
        exponents = drawn[key].log() / np.log(base)
        # u ~ U[-3, 3]: extremes near the ends, mean 0, standard deviation 3 / sqrt(3)
        assert float(exponents.abs().max()) <= 3.0 + 1e-9
        assert float(exponents.max()) > 2.9
        assert float(exponents.mean()) == pytest.approx(0.0, abs=0.25)
        assert float(exponents.std()) == pytest.approx(3**0.5, abs=0.1)


@pytest.mark.parametrize("name", FAMILIES + LEGACY)
def test_scales_multiply_the_nominal_body_and_never_compound(name):
    family: Any = make(name)
    tasks = tasks_of(family, 1, mass_scale=2.0, damping_scale=3.0)
    tasks["inertia_scale"][0, 0] = torch.tensor([1.0, 2.0, 3.0])
    tasks["friction_scale"][0, 0] = torch.tensor([1.0, 2.0, 0.5])
    env = TaskVectorEnv(family, 1, threads=1)
    for _ in range(3):
        env.reset(seed=0, options={"tasks": tasks})
    batch: Any = env.engine.batch  # pyright: ignore[reportAttributeAccessIssue]
    nominal = family.model
    np.testing.assert_allclose(batch.expanded("body_mass")[0], 2.0 * nominal.body_mass)
    inertia = batch.expanded("body_inertia")[0]
    np.testing.assert_allclose(inertia[1], nominal.body_inertia[1] * [1.0, 2.0, 3.0])
    np.testing.assert_allclose(inertia[2:], nominal.body_inertia[2:])
    np.testing.assert_allclose(batch.expanded("dof_damping")[0], 3.0 * nominal.dof_damping)
    friction = batch.expanded("geom_friction")[0]
    np.testing.assert_allclose(friction[0], nominal.geom_friction[0] * [1.0, 2.0, 0.5])
    np.testing.assert_array_equal(friction[1:], nominal.geom_friction[1:])
    assert nominal.body_mass[1] == make(name).model.body_mass[1], "the nominal model is untouched"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("name", "follows"), [*((n, True) for n in FAMILIES), *((n, False) for n in LEGACY)]
)
def test_derived_constants_follow_the_body_but_in_legacy(name, follows):
    family: Any = make(name)
    batch = fields_after(name, tasks_of(family, 1, mass_scale=2.0))
    subtree = batch.expanded("body_subtreemass")
    found = family.model.body_subtreemass if subtree is None else subtree[0]
    factor = 2.0 if follows else 1.0
    np.testing.assert_allclose(found, factor * family.model.body_subtreemass)
    weights = batch.expanded("body_invweight0")
    if follows:
        expected: Any = family.model.__copy__()
        expected.body_mass[:] *= 2.0
        mujoco.mj_setConst(expected, mujoco.MjData(expected))  # pyright: ignore[reportAttributeAccessIssue]
        np.testing.assert_allclose(weights[0], expected.body_invweight0)
    else:
        assert weights is None


def test_time_steps():
    steps = {name: make(name).dt for name in FAMILIES + LEGACY}  # pyright: ignore[reportAttributeAccessIssue]
    assert steps == pytest.approx(
        {
            "HopperRandParams-v0": 0.008,
            "Walker2dRandParams-v0": 0.008,
            "HalfCheetahRandParams-v0": 0.05,
            "HopperRandParamsLegacy-v0": 0.016,
            "Walker2dRandParamsLegacy-v0": 0.016,
        }
    )


def test_only_the_legacy_walker_has_unequal_feet():
    friction = {}
    for name in ("Walker2dRandParams-v0", "Walker2dRandParamsLegacy-v0"):
        model: Any = make(name).model  # pyright: ignore[reportAttributeAccessIssue]
        friction[name] = [model.geom(foot).friction[0] for foot in ("foot_geom", "foot_left_geom")]
    assert friction == {
        "Walker2dRandParams-v0": [1.9, 1.9],
        "Walker2dRandParamsLegacy-v0": [0.9, 1.9],
    }


@pytest.mark.parametrize(
    ("name", "action", "expected"),
    [
        # 0.016 m in 0.008 s: 2 m/s; |a|^2 = 1.25
        ("HopperRandParams-v0", [1.0, 0.5, 0.0], 2.0 + 1.0 - 0.001 * 1.25),
        ("Walker2dRandParams-v0", [1.0, 0.5, 0, 0, 0, 0.0], 2.0 + 1.0 - 0.001 * 1.25),
        # 0.016 m in 0.016 s: 1 m/s
        ("HopperRandParamsLegacy-v0", [1.0, 0.5, 0.0], 1.0 + 1.0 - 0.001 * 1.25),
        # 0.016 m in 0.05 s: 0.32 m/s
        ("HalfCheetahRandParams-v0", [1.0, 0.5, 0, 0, 0, 0.0], 0.32 - 0.05 * 1.25),
    ],
)
def test_rewards_by_hand(name, action, expected):
    family: Any = make(name)
    before, after = state(family, {0: 1.0}), state(family, {0: 1.016})
    assert reward(name, {"mass_scale": 1.0}, before, after, action) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "qpos", "qvel", "ends"),
    [
        ("HopperRandParams-v0", {1: 0.71, 2: 0.19}, 99.0, False),
        ("HopperRandParams-v0", {1: 0.70}, 0.0, True),
        ("HopperRandParams-v0", {1: 1.25, 2: -0.2}, 0.0, True),
        ("HopperRandParams-v0", {1: 1.25}, 100.0, True),
        ("HopperRandParams-v0", {1: 1.25, 4: -101.0}, 0.0, True),
        ("Walker2dVel-v0", {1: 0.81, 2: 0.99}, 0.0, False),
        ("Walker2dVel-v0", {1: 0.8}, 0.0, True),
        ("Walker2dVel-v0", {1: 2.0}, 0.0, True),
        ("Walker2dVel-v0", {1: 1.25, 2: -1.0}, 0.0, True),
    ],
)
def test_ends_at_the_published_limits(name, qpos, qvel, ends):
    family: Any = make(name)
    found = state(family, qpos, qvel=torch.full((1, family.model.nv), qvel, dtype=torch.float64))
    assert bool(family.terminated(found, None)) is ends


def test_velocities_in_observations_are_clipped_at_10():
    for name in ("HopperRandParams-v0", "Walker2dDir-v0"):
        family: Any = make(name)
        fast = torch.full((1, family.model.nv), -12.0, dtype=torch.float64)
        observation = family.observation(state(family, {0: 5.0, 1: 1.25}, qvel=fast), None)
        expected = [1.25, *[0.0] * (family.model.nq - 2), *[-10.0] * family.model.nv]
        assert observation[0].tolist() == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_random_bodies_move_differently_and_stay_finite(name):
    family: Any = make(name)
    tasks = family.sample(0, 0, 20)
    env = TaskVectorEnv(family, 20, threads=2)
    env.reset(seed=0, options={"tasks": tasks})
    env.engine.copy_state(0)
    action = np.tile(family.action_space.high, (20, 1))
    for _ in range(5):
        observation, *_, info = env.step(action)
        assert not info["failed"].any()
    assert len(np.unique(observation[:, 1])) == 20  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize("name", FAMILIES)
def test_out_of_distribution_is_stiffer_and_more_slippery(name):
    family: Any = make(name)
    outside = family.split("ood")
    for key, sign in (("damping_scale", 1.0), ("friction_scale", -1.0)):
        training: Any = family.parameters[key]
        edge = training.high if sign > 0 else training.low
        assert bool((sign * (outside[key] - edge) >= 0).all())
