"""`TaskStages`: which tasks are drawn in which iteration."""

import pytest
import torch

from metarl.errors import UserError
from metarl.tasks.stages import TaskStages
from metarl_envs.half_cheetah import HalfCheetahVel
from metarl_envs.point import PointNavigation

FAMILY = HalfCheetahVel()
STAGES = TaskStages.of(FAMILY, [{"velocity": [0.0, 1.0]}, {"velocity": [2, 3]}, {}], 5)


def test_an_iteration_draws_from_the_ranges_of_its_stage() -> None:
    for iteration, low, high in ((1, 0.0, 1.0), (5, 0.0, 1.0), (6, 2.0, 3.0), (10, 2.0, 3.0)):
        drawn = STAGES.sample(0, iteration, 50)["velocity"]
        assert low <= drawn.min()
        assert drawn.max() <= high
        assert drawn.max() - drawn.min() > 0.5
    assert STAGES.sample(0, 11, 50) == FAMILY.sample(0, 11, 50)


def test_training_stays_in_the_last_stage() -> None:
    assert [STAGES.stage_of(i) for i in (1, 5, 6, 10, 11, 15, 16, 99)] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [i for i in range(30) if STAGES.ends_at(i)] == [0, 5, 10, 15]


def test_a_number_is_a_constant_of_the_parameters_shape() -> None:
    stages = TaskStages.of(PointNavigation(), [{"goal": 0.25}], 1)
    assert torch.equal(stages.sample(0, 1, 3)["goal"], torch.full((3, 2), 0.25).double())


def test_evaluation_tasks_are_of_the_stage_and_were_not_trained_on() -> None:
    found = STAGES.evaluation_tasks(1, 20)
    assert found == STAGES.evaluation_tasks(1, 20)
    assert ((found["velocity"] >= 2) & (found["velocity"] <= 3)).all()
    trained = STAGES.sample(1, 6, 20)["velocity"]
    assert not torch.isin(found["velocity"], trained).any()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"speed": [0, 1]}, r"tasks.stages\[0\].speed: .* 'speed'; known: velocity"),
        ({"velocity": [1, 0]}, r"tasks.stages\[0\].velocity: must be a number or a range"),
        ({"velocity": [1, 2, 3]}, "must be a number or a range"),
        ({"velocity": "fast"}, "must be a number or a range"),
        ({"velocity": True}, "must be a number or a range"),
    ],
)
def test_ranges_that_cannot_be(stage: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TaskStages.of(FAMILY, [stage], 5)
