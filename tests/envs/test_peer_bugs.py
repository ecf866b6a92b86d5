"""Bugs of other code bases that published numbers contain, each as a test of ours.

Tested elsewhere: directions read as radians (VariBAD) and contact forces that are always zero
(VariBAD, PEARL) in test_ant.py; a reward of the wrong sign (ProMP's swimmer) in test_rewards.py;
masses that compound (mjlab) in test_random_bodies.py; parameters without effect (CARL) and test
tasks equal to training tasks by the conformance checks on every family; log-probabilities averaged
over action dimensions (learn2learn) in policies/test_distributions.py; the order of halved learning
rates (CAVIA) in algorithms/test_maml_trpo.py; a baseline that is no least-squares solution (garage)
in sampling/test_baseline.py; steps counted as iterations on resuming (metaworld-algorithms) in
training/test_trainer.py; a transition across two episodes (autoreset) in sampling/test_sampler.py.
"""

import multiprocessing
from typing import Any

import numpy as np
import pytest
import torch

from metarl.simulation import MujocoFamily, TensorFamily
from metarl.tasks import make, names
from metarl.tasks.registry import family_class
from tests.envs.states import state

SEES_POSITION = {
    "AntGoal-v0",  # the task is about the position
    "AntVelMAML-v0",
    "AntDirMAML-v0",
    "AntGoalMAML-v0",
    "HalfCheetahVelMAML-v0",  # as the paper's code has it; the contract says so
    "HalfCheetahDirMAML-v0",
    "HalfCheetahVelLegacy-v0",
}
PLANAR = [
    name
    for name in names()
    if issubclass(family_class(name), MujocoFamily)
    and family_class(name).__module__.startswith("metarl_envs")
    and name not in SEES_POSITION
]


@pytest.mark.parametrize("name", PLANAR)
def test_the_absolute_position_is_hidden_unless_the_contract_says_otherwise(name):
    # cbfinn/maml_rl shows the half-cheetah's x: a clock, and in velocity tasks a hint at the task.
    family: Any = make(name)
    sizes = {"cinert": (14, 10), "cvel": (14, 6), "qfrc_actuator": (23,), "cfrc_ext": (14, 6)}
    extra = {n: torch.zeros(1, *size) for n, size in sizes.items() if n in family.fields}
    task = family.sample(0, 0, 1)
    on_the_plane = family.robot in ("ant", "humanoid", "swimmer")
    moved = {0: 7.0, 1: -3.0} if on_the_plane else {0: 7.0}
    here, there = (
        family.observation(state(family, positions, **extra), task) for positions in ({}, moved)
    )
    assert torch.equal(here, there)


@pytest.mark.parametrize("name", [n for n in names() if "Point" in n])
def test_point_robots_see_their_position_and_no_distance_to_the_goal(name):
    # garage's PointEnv appends it to the observation.
    family: Any = make(name)
    assert isinstance(family, TensorFamily)
    task = family.sample(0, 0, 1)
    first = family.observation(torch.tensor([[0.25, -0.5]], dtype=torch.float64), task)
    assert first.tolist() == [[0.25, -0.5]]


def drawn(_: int) -> list[float]:
    return make("HalfCheetahVel-v0").sample(0, 0, 5)["velocity"].tolist()


def test_workers_do_not_draw_the_same_tasks_from_a_copied_global_generator():
    # np.random after a fork gives every worker the same tasks (VariBAD's README, AMAGO's comment).
    np.random.seed(0)
    before = drawn(0)
    np.random.seed(1)
    assert drawn(0) == before, "a global generator must not matter"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(drawn, range(2)) == [before, before]
    assert len(set(before)) == 5, "each task has numbers of its own"
