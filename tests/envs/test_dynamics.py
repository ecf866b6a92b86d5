"""Changed bodies, worlds and signals: what each task parameter does, and the named tasks."""

from typing import Any

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make
from tests.envs.states import reward, state

FAMILIES = ["HalfCheetahDynamics-v0", "AntDynamics-v0"]


def fields(family: Any, **changes: float) -> dict[str, torch.Tensor]:
    tasks = family.named_task("normal")
    for key, value in changes.items():
        tasks[key][...] = value
    return family.physics(family.nominal, tasks)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_normal_task_is_the_nominal_robot(name):
    family: Any = make(name)
    for field, values in fields(family).items():
        assert torch.equal(values[0], family.nominal[field]), field


@pytest.mark.parametrize("name", FAMILIES)
def test_each_multiplier_changes_what_it_names(name):
    family: Any = make(name)
    nominal = family.nominal
    torso = nominal.body("torso")
    found = fields(family, gravity=0.5, friction=0.4, torso_mass=4.0)
    assert found["opt.gravity"][0].tolist() == pytest.approx([0.0, 0.0, -9.81 / 2])
    torch.testing.assert_close(found["geom_friction"][0], nominal["geom_friction"] * 0.4)
    mass = nominal["body_mass"].clone()
    mass[torso] *= 4.0
    torch.testing.assert_close(found["body_mass"][0], mass)
    torch.testing.assert_close(
        found["body_inertia"][0, torso], nominal["body_inertia"][torso] * 4.0
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_feet_grow_in_radius_and_weight_but_not_in_length(name):
    family: Any = make(name)
    nominal = family.nominal
    found = fields(family, foot_size=1.5)
    for foot in family.feet:
        geom = nominal.geom(foot)
        body = int(nominal["geom_bodyid"][geom])
        radius, half_length, _ = nominal["geom_size"][geom].tolist()
        size = found["geom_size"][0, geom].tolist()
        assert size[:2] == pytest.approx([1.5 * radius, half_length])
        # the sphere around a capsule: its half length and its radius
        assert float(found["geom_rbound"][0, geom]) == pytest.approx(half_length + 1.5 * radius)
        assert float(found["body_mass"][0, body]) == pytest.approx(
            1.5 * float(nominal["body_mass"][body])
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_masked_observations_are_zero_and_the_others_are_not(name):
    family: Any = make(name)
    task = family.named_task("defective_module")
    mask = task["observation_mask"][0].bool()
    assert int((~mask).sum()) == len(mask) // 2
    env = TaskVectorEnv(family, 1, threads=1)
    observation, _ = env.reset(seed=0, options={"tasks": task})
    assert (observation[0][~mask.numpy()] == 0.0).all()
    assert (observation[0][mask.numpy()] != 0.0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_inverted_actions_move_as_negated_ones(name):
    family: Any = make(name)
    env = TaskVectorEnv(family, 2, threads=1)
    normal, inverted = family.named_task("normal"), family.named_task("inverted_actions")
    both = Tasks({key: torch.cat([normal[key], inverted[key]]) for key in normal.names})
    env.reset(seed=0, options={"tasks": both})
    env.engine.copy_state(0)
    action = np.linspace(-0.5, 0.9, family.model.nu, dtype=np.float32)
    observation, rewards, *_ = env.step(np.stack([action, -action]))
    np.testing.assert_array_equal(observation[0], observation[1])
    assert rewards[0] == rewards[1]


def test_masked_motors_do_not_push():
    family: Any = make("HalfCheetahDynamics-v0")
    task = family.named_task("crippled_back_leg")
    action = torch.ones(1, 6)
    assert family.control(action, task).tolist() == [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
    # 0.05 m in 0.05 s; three motors at 1
    states = state(family, {0: 0.0}), state(family, {0: 0.05})
    values = {key: task[key][0].tolist() for key in task.names}
    found = reward("HalfCheetahDynamics-v0", values, *states, [1.0] * 6)
    assert found == pytest.approx(1.0 - 0.1 * 3.0)


def test_the_ants_reward_by_hand():
    family: Any = make("AntDynamics-v0")
    task = family.named_task("inverted_actions")
    values = {key: task[key][0].tolist() for key in task.names}
    states = state(family, {0: 0.0}), state(family, {0: 0.1})  # 2 m/s
    found = reward("AntDynamics-v0", values, *states, [1.0, 0.5, 0, 0, 0, 0, 0, 0])
    assert found == pytest.approx(2.0 - 0.5 * 1.25 + 1.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_named_tasks_are_tasks_of_the_family(name):
    family: Any = make(name)
    assert {"normal", "tinyfoot", "hugefoot", "moon", "rainfall"} <= set(family.named_tasks)
    seen = set()
    for known in family.named_tasks:
        task = family.named_task(known)
        family.validate(task)
        seen.add(task.to_json())
        assert set(family.named_tasks[known]) <= set(family.parameters), "a change must be known"
    # Two names for one task: gravity_1.0 is normal, the ant's small_gravity is gravity_0.8.
    doubles = len({"gravity_1.0", "small_gravity"} & set(family.named_tasks))
    assert len(seen) == len(family.named_tasks) - doubles


def test_an_unknown_named_task_is_answered_with_the_nearest():
    family: Any = make("AntDynamics-v0")
    with pytest.raises(UserError, match="has no task named 'moonn'; did you mean 'moon'"):
        family.named_task("moonn")


def test_front_legs_of_the_ant_are_those_that_the_robots_file_calls_front():
    family: Any = make("AntDynamics-v0")
    scale = family.named_task("disabled_forefeet")["action_scale"][0]
    joints = [family.model.joint(family.model.actuator_trnid[m, 0]).name for m in range(8)]
    off = {joint for joint, factor in zip(joints, scale.tolist(), strict=True) if factor == 0.0}
    assert off == {"hip_1", "ankle_1", "hip_2", "ankle_2"}
    first_leg = family.model.body("front_left_leg").id
    assert family.model.body_parentid[family.model.joint("hip_1").bodyid[0]] == first_leg
