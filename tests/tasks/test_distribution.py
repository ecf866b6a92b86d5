"""`TaskDistribution`: what is drawn for training, and the fixed lists held out from it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.tasks import Choice, TaskDistribution, Tasks, Uniform, make, names
from metarl.tasks.registry import family_class

FAMILIES = [
    "HalfCheetahDir-v0",
    "HalfCheetahDirMAML-v0",
    "HalfCheetahVel-v0",
    "HalfCheetahVelMAML-v0",
    "PointNavigation-v0",
]
INFINITE = [name for name in FAMILIES if "Dir" not in name]
FINITE = [name for name in FAMILIES if "Dir" in name]

PUBLISHED = Path(__file__).parent / "task_lists.json"
"""The lists that results are published on, by family. A new hash here is a new version of the
family: give it a new name. `python tests/tasks/test_distribution.py` adds those of new families."""


def built_in_families() -> list[str]:
    return [name for name in names() if family_class(name).__module__.startswith("metarl_envs")]


def list_hashes(name: str) -> dict[str, str]:
    family = make(name)
    splits = ["validation", "test", *(["ood"] if family.ood_parameters else [])]
    return {split: family.split(split).content_hash() for split in splits}


class TwoParameters(TaskDistribution):
    name = "TwoParameters-v0"
    parameters = {"speed": Uniform(0.0, 1.0), "side": Choice([-1, 1])}
    ood_parameters = {"speed": Uniform(1.0, 2.0)}


class TwoChoices(TaskDistribution):
    name = "TwoChoices-v0"
    parameters = {"arm": Choice([0, 1, 2]), "side": Choice([-1.0, 1.0])}
    ood_parameters = {"arm": Choice([3])}


def _rows(tasks: Tasks) -> set[str]:
    return {task.to_json() for task in tasks}


@pytest.mark.parametrize("name", FAMILIES)
def test_task_k_does_not_depend_on_how_many_are_drawn(name):
    family = make(name)
    ten = family.sample(seed=3, iteration=5, count=10)
    assert family.sample(seed=3, iteration=5, count=4) == ten[:4]


def test_a_draw_does_not_depend_on_other_draws_or_on_the_object():
    family = TwoParameters()
    first = family.sample(0, 1, 3)
    family.sample(0, 0, 50)
    family.split("test")
    np.random.default_rng(1).random(5)
    assert family.sample(0, 1, 3) == first == TwoParameters().sample(0, 1, 3)


def test_seeds_and_iterations_and_tasks_differ():
    family = make("HalfCheetahVel-v0")
    drawn = [
        velocity
        for seed in range(3)
        for iteration in range(3)
        for velocity in family.sample(seed, iteration, 10)["velocity"].tolist()
    ]
    assert len(set(drawn)) == len(drawn) == 90


@pytest.mark.parametrize("name", FAMILIES)
def test_training_tasks_lie_in_the_training_range(name):
    family = make(name)
    tasks = family.sample(0, 0, 50)
    family.validate(tasks)
    for parameter, kind in family.parameters.items():
        assert all(kind.contains(value.numpy()) for value in tasks[parameter])


def test_both_directions_are_drawn_about_equally_often():
    directions = make("HalfCheetahDir-v0").sample(0, 0, 400)["direction"]
    # 400 coins: 200 forward with standard deviation sqrt(400 / 4) = 10; 4 of them
    assert set(directions.tolist()) == {-1.0, 1.0}
    assert abs(int((directions > 0).sum()) - 200) < 40


def test_every_list_of_every_family_is_the_published_one():
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert {name: list_hashes(name) for name in built_in_families()} == published


@pytest.mark.parametrize("name", INFINITE)
def test_lists_of_infinite_families_are_long_disjoint_and_without_duplicates(name):
    family = make(name)
    lists = [family.split(split) for split in ("validation", "test", "ood")]
    assert [len(tasks) for tasks in lists] == [40, 100, 40]
    lists += [family.sample(seed, iteration, 40) for seed in (0, 1) for iteration in range(5)]
    rows = [_rows(tasks) for tasks in lists]
    assert [len(row) for row in rows] == [len(tasks) for tasks in lists]
    assert len(set.union(*rows)) == sum(len(row) for row in rows)
    assert not family.is_finite()


@pytest.mark.parametrize("name", FINITE)
def test_lists_of_the_direction_families_hold_both_tasks_once(name):
    family = make(name)
    assert family.is_finite()
    for split in ("validation", "test"):
        assert family.split(split)["direction"].tolist() == [-1.0, 1.0]


def test_a_finite_family_enumerates_all_combinations():
    family = TwoChoices()
    assert (
        family.split("test").to_json()
        == Tasks({"arm": [0, 0, 1, 1, 2, 2], "side": [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]}).to_json()
    )
    assert family.split("ood") == Tasks({"arm": [3, 3], "side": [-1.0, 1.0]})


@pytest.mark.parametrize("name", INFINITE)
def test_ood_tasks_lie_outside_the_training_range(name):
    family = make(name)
    for task in family.split("ood"):
        family.validate(task)
        assert not all(
            kind.contains(task[parameter][0].numpy())
            for parameter, kind in family.parameters.items()
        )


def test_parameters_without_an_ood_range_keep_their_training_range():
    tasks = TwoParameters().split("ood")
    assert bool((tasks["speed"] >= 1.0).all())
    assert set(tasks["side"].tolist()) == {-1, 1}


class OtherLists(TaskDistribution):
    name = "OtherLists-v0"
    parameters = {"angle": Choice([0.0, 1.0, 2.0]), "sparse": Choice([0.0])}
    validation_parameters = {"angle": Uniform(3.0, 4.0), "sparse": Choice([1.0])}
    test_parameters = {"sparse": Choice([1.0])}


def test_validation_and_test_may_have_ranges_of_their_own():
    family = OtherLists()
    assert set(family.sample(0, 0, 50)["sparse"].tolist()) == {0.0}
    validation = family.split("validation")
    assert len(validation) == 40
    assert bool(((validation["angle"] >= 3.0) & (validation["angle"] <= 4.0)).all())
    assert set(validation["sparse"].tolist()) == {1.0}
    # what the test list does not name keeps its training range, here all three values
    assert family.split("test") == Tasks({"angle": [0.0, 1.0, 2.0], "sparse": [1.0] * 3})


def test_a_family_may_choose_its_ranges_when_it_is_made():
    class Sized(TaskDistribution):
        name = "Sized-v0"

        def __init__(self, size: int):
            self.parameters = {"speed": Uniform(0.0, 1.0, (size,))}

    assert Sized(3).sample(0, 0, 2)["speed"].shape == (2, 3)
    assert Sized(4).split("test")["speed"].shape == (100, 4)
    assert TaskDistribution.parameters == {}


@pytest.mark.parametrize("name", FINITE)
def test_a_family_without_an_ood_range_says_so(name):
    with pytest.raises(UserError, match=f"{name} has no ood split"):
        make(name).split("ood")


def test_an_unknown_split_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="unknown split 'dev'; known: validation, test, ood"):
        make("PointNavigation-v0").split("dev")


def test_families_with_the_same_ranges_have_lists_of_their_own():
    class Same(TwoParameters):
        name = "Same-v0"

    assert Same().split("test") != TwoParameters().split("test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gaol": [[0.0, 0.0]]}, "has the task parameters goal; got gaol"),
        ({"goal": [[0.0, 0.0]], "speed": [1.0]}, "has the task parameters goal; got goal, speed"),
        ({"goal": [0.0]}, r"shape \(2,\), got \(\)"),
        ({"goal": [[0.0, 0.0, 0.0]]}, r"shape \(2,\), got \(3,\)"),
        ({"goal": [[0.0, math.nan]]}, "goal of PointNavigation-v0 must be finite"),
        ({"goal": [[0.0, 0.0], [math.inf, 0.0]]}, "must be finite"),
    ],
)
def test_validate_refuses_tasks_of_another_kind(values, message):
    with pytest.raises(UserError, match=message):
        make("PointNavigation-v0").validate(Tasks(values))


def test_validate_accepts_tasks_outside_the_training_range_and_integers():
    make("PointNavigation-v0").validate(Tasks({"goal": torch.tensor([[5, -5]])}))


if __name__ == "__main__":
    known = json.loads(PUBLISHED.read_text(encoding="utf-8")) if PUBLISHED.exists() else {}
    hashes = {name: known.get(name) or list_hashes(name) for name in built_in_families()}
    PUBLISHED.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
