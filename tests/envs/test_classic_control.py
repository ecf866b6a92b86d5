"""Classic control: steps by hand, ends, what the parameters do, pictures."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make
from tests.envs.classic_control import NAMES, WORLDS, nominal, state_of


@pytest.mark.parametrize("name", NAMES)
def test_training_holds_gymnasiums_constants_and_ood_lies_outside(name: str) -> None:
    family = make(name)
    assert set(family.parameters) == set(WORLDS[name].nominal)
    for key, value in WORLDS[name].nominal.items():
        assert family.parameters[key].contains(np.asarray(value))
    trained, outside = family.sample(0, 0, 300), family.split("ood")
    for key in family.ood_parameters:
        if key in ("force", "power"):  # strong enough for the steeper hill
            continue
        low, high = float(trained[key].min()), float(trained[key].max())
        assert bool(((outside[key] < low) | (outside[key] > high)).all()), key


def test_a_push_moves_the_cart_and_tips_the_pole_the_other_way() -> None:
    env = nominal("CartPoleRandParams-v0", (0.0,) * 4, (0.0,) * 4)
    env.step(np.array([1, 0]))
    # Upright and at rest: push = 10 / 1.1 = 100/11; the pole's acceleration is
    # -(100/11) / (0.5 (4/3 - 0.1/1.1)) = -600/41, the cart's 100/11 + (0.05/1.1)(600/41) = 400/41.
    expected = np.array([0.0, 8.0 / 41.0, 0.0, -12.0 / 41.0])  # times 0.02 s
    assert state_of(env) == pytest.approx(np.stack([expected, -expected]), abs=1e-12)


def test_cart_pole_ends_beyond_its_limits_and_rewards_the_last_step() -> None:
    degree = math.pi / 180.0
    inside = [(2.38, 0.9, 0.0, 0.0), (0.0, 0.0, 11.9 * degree, 0.0), (0.0, 0.0, -0.2, 0.4)]
    beyond = [(2.38, 1.1, 0.0, 0.0), (-2.39, -1.0, 0.0, 0.0), (0.0, 0.0, -0.2, -0.5)]
    env = nominal("CartPoleRandParams-v0", *inside, *beyond)
    _, reward, terminated, *_ = env.step(np.ones(6, dtype=np.int64))
    assert terminated.tolist() == [False] * 3 + [True] * 3
    assert reward.tolist() == [1.0] * 6
    assert env.step(np.ones(6, dtype=np.int64))[1].tolist() == [1.0] * 3 + [0.0] * 3


def test_a_horizontal_pendulum_falls_by_its_weight_and_its_motor() -> None:
    action = np.array([[1.0]], np.float32)
    env = nominal("PendulumRandParams-v0", (math.pi / 2, 0.0))
    _, reward, *_ = env.step(action)
    # rate: 0.05 (1.5 * 10 / 1 + 3 * 1 / 1^2) = 0.9, and the angle goes on by 0.05 * 0.9
    assert state_of(env)[0] == pytest.approx([math.pi / 2 + 0.045, 0.9], abs=1e-7)
    assert reward[0] == pytest.approx(-(math.pi**2 / 4.0 + 0.001), abs=1e-7)
    env = nominal("PendulumRandParams-v0", (math.pi / 2, 0.0), length=1.5, mass=0.8)
    env.step(action)
    # 0.05 (1.5 * 10 / 1.5 + 3 / (0.8 * 2.25)) = 0.5 + 1 / 12
    assert state_of(env)[0, 1] == pytest.approx(0.5 + 1.0 / 12.0, abs=1e-7)


def test_a_pendulums_torque_is_clipped_at_the_tasks_limit_in_motion_and_reward() -> None:
    env = nominal("PendulumRandParams-v0", (0.0, 0.0), (0.0, 0.0), max_torque=1.2)
    _, reward, *_ = env.step(np.array([[5.0], [-2.0]], np.float32))
    # at rest upright: 0.05 * 3 * 1.2 = 0.18; 0.001 * 1.44
    assert state_of(env)[:, 1] == pytest.approx([0.18, -0.18], abs=1e-7)
    assert reward == pytest.approx([-0.00144, -0.00144], abs=1e-9)


def test_a_pendulums_turns_do_not_count() -> None:
    states = [(0.5, 1.0), (0.5 + 2.0 * math.pi, 1.0), (0.5 - 4.0 * math.pi, 1.0)]
    env = nominal("PendulumRandParams-v0", *states)
    observation, reward, *_ = env.step(np.zeros((3, 1), np.float32))
    assert reward == pytest.approx([-0.35] * 3, abs=1e-9)  # 0.5^2 + 0.1 * 1^2
    assert observation[1:] == pytest.approx(np.tile(observation[0], (2, 1)), abs=1e-6)


def _acrobot_energy(state: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Of two rods whose centres of mass lie in the middle, `[n]`."""
    first, second, rate_1, rate_2 = state.T
    mass_1, mass_2, length_1, length_2, gravity = (
        tasks[name].numpy() for name in ("mass_1", "mass_2", "length_1", "length_2", "gravity")
    )
    total, turn = first + second, rate_1 + rate_2
    # Velocity of the second link's centre: that of the elbow plus that around the elbow.
    along_x = length_1 * rate_1 * np.cos(first) + length_2 / 2 * turn * np.cos(total)
    along_y = length_1 * rate_1 * np.sin(first) + length_2 / 2 * turn * np.sin(total)
    kinetic = mass_1 * (length_1 / 2 * rate_1) ** 2 + mass_2 * (along_x**2 + along_y**2)
    kinetic = 0.5 * (kinetic + rate_1**2 + turn**2)  # moments of inertia are 1
    centre_1 = -length_1 / 2 * np.cos(first)
    centre_2 = -length_1 * np.cos(first) - length_2 / 2 * np.cos(total)
    return kinetic + gravity * (mass_1 * centre_1 + mass_2 * centre_2)


@pytest.mark.parametrize("action", [0, 1, 2])
def test_the_acrobots_energy_changes_by_the_work_of_its_motor(action: int) -> None:
    family: Any = make("AcrobotRandParams-v0")
    tasks = family.sample(0, 0, 50)
    env = TaskVectorEnv(family, 50)
    env.reset(seed=0, options={"tasks": tasks})
    start = state_of(env) + np.array([0.3, -0.2, 0.0, 0.0])
    engine: Any = env.engine
    engine._state = torch.from_numpy(start)
    for _ in range(5):
        env.step(np.full(50, action))
    gained = _acrobot_energy(state_of(env), tasks) - _acrobot_energy(start, tasks)
    work = (action - 1) * tasks["torque"].numpy() * (state_of(env)[:, 1] - start[:, 1])
    # The Runge-Kutta steps of 0.2 s are long; the energies are around -20 J.
    assert gained == pytest.approx(work, abs=0.02)
    if action != 1:
        assert np.abs(work).max() > 0.5


def test_the_acrobot_ends_with_its_tip_above_the_bar() -> None:
    # -cos(a) - cos(a + b) is 1 at a = 2 pi / 3 with b = 0; equal angles at rest hardly move.
    angle = 2.0 * math.pi / 3.0
    states = [(angle + 0.2, 0.0, 0.0, 0.0), (angle - 0.2, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)]
    env = nominal("AcrobotRandParams-v0", *states, gravity=7.0)
    _, reward, terminated, *_ = env.step(np.ones(3, dtype=np.int64))
    assert terminated.tolist() == [True, False, False]
    assert reward.tolist() == [0.0, -1.0, -1.0]
    assert state_of(env)[2] == pytest.approx([0.0] * 4, abs=1e-12)  # hanging at rest


def test_a_car_is_moved_by_its_engine_and_the_slope() -> None:
    # cos(3 x) is 0 in the valley at -pi / 6 and 1 at x = 0.
    env = nominal("MountainCarRandParams-v0", (-math.pi / 6, 0.0), (0.0, 0.01), force=0.004)
    _, reward, *_ = env.step(np.array([2, 0]))
    expected = [[-math.pi / 6 + 0.004, 0.004], [0.0035, 0.0035]]  # 0.01 - 0.004 - 0.0025
    assert state_of(env) == pytest.approx(np.array(expected), abs=1e-12)
    assert reward.tolist() == [-1.0, -1.0]


def test_a_throttle_is_clipped_and_its_square_paid() -> None:
    name = "MountainCarContinuousRandParams-v0"
    env = nominal(name, *[(-math.pi / 6, 0.0)] * 2, power=0.002)
    _, reward, *_ = env.step(np.array([[0.5], [3.0]], np.float32))
    assert state_of(env)[:, 1] == pytest.approx([0.001, 0.002], abs=1e-9)
    assert reward == pytest.approx([-0.025, -0.9], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "goal", "action"),
    [
        ("MountainCarRandParams-v0", 0.5, np.ones(4, np.int64)),
        ("MountainCarContinuousRandParams-v0", 0.45, np.zeros((4, 1), np.float32)),
    ],
)
def test_cars_arrive_on_the_hill_and_stop_at_the_wall(
    name: str, goal: float, action: np.ndarray
) -> None:
    states = [(goal - 0.02, 0.03), (goal - 0.02, 0.01), (-1.19, -0.06), (-1.0, -0.08)]
    env = nominal(name, *states)
    observation, reward, terminated, *_ = env.step(action)
    assert terminated.tolist() == [True, False, False, False]
    ordinary, arrival = (-1.0, -1.0) if name.startswith("MountainCarRand") else (0.0, 100.0)
    assert reward.tolist() == [arrival, ordinary, ordinary, ordinary]
    assert observation[2] == pytest.approx([-1.2, 0.0], abs=1e-7)
    assert observation[3] == pytest.approx([-1.07, -0.07], abs=1e-7)  # the highest speed


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("Mountain")])
def test_accelerating_along_the_velocity_arrives_in_every_task(name: str) -> None:
    family: Any = make(name)
    engine, gravity = ([p.low, p.high] for p in family.parameters.values())
    corners = [(e, g) for e in engine for g in gravity]
    extremes = Tasks(dict(zip(family.parameters, zip(*corners, strict=True), strict=True)))
    for tasks in (family.split("test"), extremes):
        env = TaskVectorEnv(family, len(tasks), 4)
        observation, _ = env.reset(seed=1, options={"tasks": tasks})
        arrived = np.zeros(env.num_envs, dtype=bool)
        while env.active.any():
            forward = observation[:, 1] >= 0.0
            right, left = (2, 0) if name.startswith("MountainCarRand") else ([1.0], [-1.0])
            action = np.where(forward.reshape(-1, *[1] * np.ndim(right)), right, left)
            observation, _, terminated, *_ = env.step(action)
            arrived |= terminated
        assert arrived.all()


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_alone_changes_where_one_step_leads(name: str) -> None:
    family: Any = make(name)
    state = torch.tensor([WORLDS[name].spread], dtype=torch.float64) / 3.0
    action = torch.tensor([2 if family.action_space == gymnasium.spaces.Discrete(3) else 1])
    if isinstance(family.action_space, gymnasium.spaces.Box):
        action = torch.from_numpy(family.action_space.high[None])
    base = Tasks({key: [value] for key, value in WORLDS[name].nominal.items()})
    before = family.transition(state, action, base, None)
    for key, value in WORLDS[name].nominal.items():
        changed = Tasks({**{k: base[k] for k in base.names}, key: [0.9 * value]})
        after = family.transition(state, action, changed, None)
        assert float((after - before).abs().max()) > 1e-5, key


def _drawn(name: str, state: tuple[float, ...], **constants: float) -> Any:
    family: Any = make(name)
    axes = Figure().subplots()
    values = {**WORLDS[name].nominal, **constants}
    family.draw(
        axes,
        torch.tensor([state], dtype=torch.float64),
        Tasks({key: [value] for key, value in values.items()}),
    )
    limits = [*axes.get_xlim(), *axes.get_ylim()]
    for line in axes.lines:  # a guide may be drawn in units of the axes
        if line.get_transform() == axes.transData:
            x, y = np.asarray(line.get_xydata()).T
            assert limits[0] <= x.min() <= x.max() <= limits[1]
            assert limits[2] <= y.min() <= y.max() <= limits[3]
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines}


def test_pictures_show_bodies_where_they_are() -> None:
    pole = _drawn("CartPoleRandParams-v0", (1.0, 0.0, math.pi / 6, 0.0), half_length=1.0)["pole"]
    assert pole == pytest.approx(np.array([[1.0, 0.0], [2.0, 3.0**0.5]]))
    rod = _drawn("PendulumRandParams-v0", (math.pi / 2, 0.0), length=1.5)["pendulum"]
    assert rod == pytest.approx(np.array([[0.0, 0.0], [-1.5, 0.0]]), abs=1e-12)
    joints = _drawn("AcrobotRandParams-v0", (math.pi / 2, 0.0, 0.0, 0.0), length_1=1.5)["joints"]
    assert joints == pytest.approx(np.array([[0.0, 0.0], [1.5, 0.0]]), abs=1e-12)
    for name in NAMES[3:]:
        car = _drawn(name, (-math.pi / 6, 0.0))["car"][0]
        assert car == pytest.approx([-math.pi / 6, 0.14], abs=1e-6)  # 0.1 is the valley
