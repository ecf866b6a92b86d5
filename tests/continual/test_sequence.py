"""`TaskSequence`: distinct tasks in the order of their stages."""

from typing import Any

import pytest

from metarl.continual.config import SequenceConfig
from metarl.continual.sequence import TaskSequence
from metarl.errors import UserError
from metarl_envs.half_cheetah import HalfCheetahDynamics, HalfCheetahVel


def velocities(*tasks: object, **settings: Any) -> TaskSequence:
    return TaskSequence.of(HalfCheetahVel(), SequenceConfig("any", tasks, **settings))


def test_a_task_that_stands_twice_is_one_task() -> None:
    found = velocities({"velocity": 1.0}, {"velocity": 2}, {"velocity": 1})
    assert found.tasks["velocity"].tolist() == [1.0, 2.0]
    assert found.stages == (0, 1, 0)
    assert found.names == ("velocity 1", "velocity 2")
    assert velocities({"velocity": 1}, {"velocity": 2}, repetitions=2).stages == (0, 1, 0, 1)


def test_names_are_the_familys() -> None:
    family = HalfCheetahDynamics()
    config = SequenceConfig("any", ("moon", {"gravity": 0.5}), held_out="normal")
    found = TaskSequence.of(family, config)
    assert found.names == ("moon", "gravity 0.5")
    assert found.tasks["gravity"].tolist() == [0.15, 0.5]
    assert found.tasks["torso_mass"].tolist() == [1.0, 1.0]
    assert found.held_out == family.named_task("normal")


def test_the_hash_is_of_tasks_and_order() -> None:
    one, two = {"velocity": 1.0}, {"velocity": 2.0}
    assert velocities(one, two).content_hash() == velocities(one, two).content_hash()
    others = (velocities(two, one), velocities(one, two, repetitions=2), velocities(one))
    assert len({each.content_hash() for each in (velocities(one, two), *others)}) == 4


@pytest.mark.parametrize(
    ("tasks", "held_out", "message"),
    [
        (("slow",), None, r"sequence.tasks\[0\]: .* no task named 'slow'; give its parameters"),
        (
            ({"velocity": 1}, {"speed": 1}),
            None,
            r"sequence.tasks\[1\]: .* task parameters velocity",
        ),
        (({"velocity": "fast"},), None, "no task of"),
        ((3,), None, "must be a name or a mapping"),
        (({"velocity": 1},), {"velocity": 1.0}, "sequence.held_out: .* is trained on"),
        (({"velocity": 1}, {"velocity": 1.0000001}), None, "two different tasks have one name"),
    ],
)
def test_tasks_that_cannot_be(tasks: tuple[object, ...], held_out: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        velocities(*tasks, held_out=held_out)


def test_unknown_names_and_parameters_of_a_changed_robot() -> None:
    family = HalfCheetahDynamics()
    with pytest.raises(UserError, match="did you mean 'moon'"):
        TaskSequence.of(family, SequenceConfig("any", ("mon",)))
    with pytest.raises(UserError, match="no task parameter 'gravty'; did you mean 'gravity'"):
        TaskSequence.of(family, SequenceConfig("any", ({"gravty": 1.0},)))
