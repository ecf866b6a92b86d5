"""The conformance checks: a sound family passes them all, and each finds a family that is wrong."""

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from metarl import cli
from metarl.conformance import CHECKS, Result, check_family
from metarl.errors import UserError
from metarl.simulation import MujocoFamily, MujocoState, TensorFamily
from metarl.simulation.engine import Engine, StepResult
from metarl.simulation.mujoco import NominalModel
from metarl.simulation.tensor import TensorEngine
from metarl.tasks import (
    Choice,
    OneHot,
    Parameter,
    TaskDistribution,
    Tasks,
    TaskStreams,
    Uniform,
    names,
    register,
    registry,
)

CONTRACT, JSON, SPLITS, SPACES, FINITE, FRESH, DETERMINISM, LAYOUT, SET_TASKS, PARAMETERS, LEAK = (
    CHECKS
)


class Line(TensorFamily):
    """Walk along a line to a hidden goal, with noise in every step.

    Observation: the position, `[1]`.
    Action: the move, in [-1, 1].
    Reward: minus the distance to the goal after the move.
    Termination: beyond 5 on either side. Horizon 30.
    Start: U[-0.1, 0.1).
    Task parameters: `goal` ~ U[-1, 1]; out of distribution: U[2, 3].
    Source: this test.
    """

    name = "Line-v0"
    parameters: Any = {"goal": Uniform(-1.0, 1.0)}
    ood_parameters: Any = {"goal": Uniform(2.0, 3.0)}
    horizon = 30
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init_subclass__(cls) -> None:
        # The broken families of this file are sound in every other way: their contract, too.
        cls.__doc__ = cls.__doc__ or Line.__doc__

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.uniform(-0.1, 0.1, (1,))

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action + random.normal(0.01, (1,))

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return -(after[:, 0] - tasks["goal"]).abs()

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0].abs() > 5.0


def failures(family: TaskDistribution) -> dict[str, str]:
    """The messages of the checks that a family fails."""
    results = list(check_family(family))
    assert [result.check for result in results] == list(CHECKS)
    for result in results:
        assert "\n" not in str(result)
    return {result.check: result.message for result in results if not result.ok}


def only_failure(family: TaskDistribution, check: str) -> str:
    """The message of the one check that a family fails."""
    found = failures(family)
    assert list(found) == [check], found
    return found[check]


def test_a_sound_family_passes_every_check():
    assert failures(Line()) == {}


def test_a_result_is_a_line():
    assert str(Result("spaces", True, "", 0.1)) == "ok   spaces"
    assert str(Result("spaces", True, "a remark", 0.1)) == "ok   spaces: a remark"
    assert str(Result("spaces", False, "wrong; mend it", 0.1)) == "FAIL spaces: wrong; mend it"


# The contract --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step.", "step:", "first line is 'Walk along.*say there in one sentence"),
        ("Source: this test.", "", "does not say Source; add a line such as `Source: ...`"),
        ("Horizon 30", "Horizon 300", "does not state the horizon; write `Horizon 30`"),
        ("`goal`", "goal", "leave out goal; add `goal` in backticks .* range, U.-1, 1."),
        ("U[-1, 1]", "uniform on [-4, 4]", "do not state 1 of goal; write its range, U.-1, 1."),
        (
            "out of distribution",
            "also",
            "what is out of distribution; add .* `Out of distribution: ` and",
        ),
        ("Task parameters", "Tasks", "does not say Task parameters"),
    ],
)
def test_an_incomplete_contract(old, new, message):
    assert Line.__doc__ is not None
    assert old in Line.__doc__
    # The action's range has a 1 as well, but is not where the parameters' are stated.
    family = type("Broken", (Line,), {"__doc__": Line.__doc__.replace(old, new)})()
    assert_matches(only_failure(family, CONTRACT), message)


def assert_matches(message: str, pattern: str) -> None:
    with pytest.raises(AssertionError, match=pattern):
        raise AssertionError(message)


def test_a_contract_may_pass_on_to_a_base_class_that_it_names():
    class Slow(Line):
        """Walk slowly.

        All but the parameters as in `Line`.
        Task parameters: `goal` ~ U[-1, 1].
        """

    assert failures(Slow()) == {}
    assert Slow.__doc__ is not None
    Slow.__doc__ = Slow.__doc__.replace("`Line`", "Line")
    assert "does not say Observation, Action, Reward" in only_failure(Slow(), CONTRACT)


def test_a_name_without_a_version():
    message = only_failure(type("Nameless", (Line,), {"name": "unregistered"})(), CONTRACT)
    assert '@register("Nameless-v0")' in message


def test_ranges_for_a_parameter_that_is_not_there():
    family = type("Misspelt", (Line,), {"test_parameters": {"gaol": Uniform(5.0, 6.0)}})()
    message = only_failure(family, CONTRACT)
    assert (
        message == "test_parameters names gaol, which `parameters` does not have; use one of goal"
    )


# What is sampled -----------------------------------------------------------------------------


def test_tasks_that_json_cannot_hold():
    class Limited(Line):
        """Walk along a line, perhaps with a limit.

        See `Line`. Task parameters: `goal` ~ U[-1, 1]; `limit`, 4 or inf.
        """

        parameters = Line.parameters | {"limit": Choice([4.0, math.inf])}

        def validate(self, tasks: Tasks) -> None:
            """Anything goes, infinity too."""

        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            return super().reward(before, after, action, tasks) * (1.0 + 1.0 / tasks["limit"])

    message = only_failure(Limited(), JSON)
    assert message.startswith("tasks of train hold Infinity, which JSON does not have; draw finite")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"ood_parameters": {"goal": Uniform(0.5, 3.0)}},
            r"\d+ of 40 ood tasks lie in the training ranges, e.g. .*\"goal\".*never draws",
        ),
        (
            {
                "test_parameters": {"goal": Choice([-3.0, 3.0])},
                "validation_parameters": {"goal": Choice([3.0])},
            },
            r"validation and test share 1 task\(s\), e.g. {\"goal\": 3.0}; give test ranges of its",
        ),
        (
            {"test_parameters": {"goal": Choice([k / 150 for k in range(150)])}},
            r"test holds {\"goal\": 0.\d+} \d times; draw from finitely many tasks as a Choice",
        ),
    ],
)
def test_lists_that_are_not_apart(attributes, message):
    assert_matches(only_failure(type("Broken", (Line,), attributes)(), SPLITS), message)


def test_finitely_many_tasks_may_be_in_training_validation_and_test():
    family = type(
        "Sides", (Line,), {"parameters": {"goal": Choice([-1.0, 1.0])}, "ood_parameters": {}}
    )()
    remarks = {result.check: result for result in check_family(family)}
    assert all(result.ok for result in remarks.values())
    assert remarks[SPLITS].message == "validation and test hold all 2 training tasks"


def test_a_held_out_list_may_not_hold_a_part_of_finitely_many_training_tasks():
    attributes = {
        "parameters": {"goal": Choice([-1.0, 0.5, 1.0])},
        "test_parameters": {"goal": Choice([0.5, 0.25])},
        "ood_parameters": {},
    }
    Sides = type("Sides", (Line,), attributes)
    Sides.__doc__ = (Line.__doc__ or "").replace("U[-1, 1]", "-1, 0.5 or 1")
    assert "train and test share 1 task(s)" in only_failure(Sides(), SPLITS)


def test_a_family_whose_one_hot_tasks_repeat():
    class Ends(Line):
        """Walk to one of the line's ends.

        See `Line`. Task parameters: `end` [2], one of the two as a one-hot vector.
        """

        parameters = {"end": OneHot(2)}
        ood_parameters = {}

        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            return (tasks["end"] * torch.cat([-after, after], dim=1)).sum(dim=1)

    assert "validation holds" in only_failure(Ends(), SPLITS)


# Spaces, dtypes, numbers ---------------------------------------------------------------------


def _box(low: float, high: float, dtype: Any = np.float32) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(low, high, (1,), dtype)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"observation_space": _box(-2.0, 2.0)},
            r"observation\[0\] is -?\d\S*, outside its space \[-2, 2\]; widen the observation_s",
        ),
        (
            {"observation_space": _box(-9.0, 9.0, np.float64)},
            "the observation_space is a Box of float64; give it dtype np.float32",
        ),
        (
            {"action_space": gymnasium.spaces.Box(-1.0, 1.0, (1, 1), np.float32)},
            r"the action_space is Box\(-1.0, 1.0, \(1, 1\), float32\); use a flat Box",
        ),
        ({"horizon": 30.0}, "the horizon is 30.0; give a whole number"),
    ],
)
def test_wrong_spaces(attributes, message):
    found = failures(type("Broken", (Line,), attributes)())
    assert_matches(found[SPACES], message)


def test_an_observation_outside_its_space_fails_that_check_only():
    family = type("Broken", (Line,), {"observation_space": _box(-2.0, 2.0)})()
    assert "widen the observation_space" in only_failure(family, SPACES)


@pytest.mark.parametrize(
    ("function", "wrong", "message"),
    [
        ("reward", lambda x: x.unsqueeze(1), "reward gives [2, 1] for 2 environments; return"),
        ("observation", lambda x: x[:, 0], "observation gives [2] for 2 environments; return"),
        ("terminated", lambda x: x.double(), "terminated gives torch.float64; return torch.bool"),
        ("transition", lambda x: x[:1], "transition must give one row for each of 2"),
    ],
)
def test_a_function_that_gives_a_wrong_shape_or_dtype_is_named(function, wrong, message):
    right = getattr(Line, function)
    broken = {function: lambda self, *arguments: wrong(right(self, *arguments))}
    assert message in failures(type("Broken", (Line,), broken)())[SPACES]


def test_a_reward_that_is_not_always_finite():
    class Rooted(Line):
        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            # Most steps near the goal are fine: only far off is the root of a negative number.
            return (4.0 - (after[:, 0] - tasks["goal"]).abs()).sqrt()

    message = only_failure(Rooted(), FINITE)
    assert_matches(message, r'reward gives nan in a finite state of task {"goal": .*domain')


def test_a_state_that_is_not_finite():
    class Exploding(Line):
        def transition(
            self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
        ) -> Tensor:
            after = super().transition(state, action, tasks, random)
            return torch.where(after.abs() > 3.5, math.nan, after)

    assert_matches(
        only_failure(Exploding(), FINITE), r"^\d+ of \d+ random episodes ended by states"
    )


# Fresh arrays --------------------------------------------------------------------------------


def test_a_function_that_changes_its_arguments():
    class InPlace(Line):
        def transition(
            self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
        ) -> Tensor:
            return super().transition(state, action.clamp_(-1.0, 1.0), tasks, random)

    message = only_failure(InPlace(), FRESH)
    assert message.startswith("transition changes its arguments in place; compute new tensors")


class _OneBuffer(TensorEngine):
    """Gives the same tensor `failed` in every step."""

    failed: Tensor | None = None

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        result = super().step(actions, ids)
        if self.failed is None:
            self.failed = result.failed
        return result._replace(failed=self.failed)


class _SecondThoughts(TensorEngine):
    """Writes into what it gave in the step before."""

    last = torch.zeros(0, dtype=torch.bool)

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        self.last.fill_(True)
        result = super().step(actions, ids)
        self.last = result.failed
        return result


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (_OneBuffer, "writing into returned arrays changes time step 2; return fresh arrays"),
        (_SecondThoughts, "arrays returned at time step 1 change when the environment goes on"),
    ],
)
def test_an_engine_that_hands_out_its_own_arrays(engine, message):
    family = type("Broken", (Line,), {"make_engine": lambda self, *_: engine(self)})()
    assert only_failure(family, FRESH).startswith(message)


# Reproducibility -----------------------------------------------------------------------------


class _Entropy(Parameter):
    """Draws from the operating system, not from the generator."""

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return np.asarray(np.random.default_rng().uniform(-1.0, 1.0))

    def contains(self, value: np.ndarray) -> bool:
        return bool(abs(value) <= 1.0)


def test_tasks_that_do_not_come_from_the_seed():
    message = only_failure(
        type("Broken", (Line,), {"parameters": {"goal": _Entropy()}})(), DETERMINISM
    )
    assert message.startswith("the same seed gives other tasks the second time; draw parameters")


def test_tasks_that_depend_on_how_many_are_drawn():
    class Spread(Line):
        def sample(self, seed: int, iteration: int, count: int) -> Tasks:
            tasks = super().sample(seed, iteration, count)
            return Tasks({"goal": tasks["goal"] / count})

    assert "depends on how many tasks are drawn" in only_failure(Spread(), DETERMINISM)


def test_tasks_that_are_the_same_in_every_iteration():
    class Stuck(Line):
        def sample(self, seed: int, iteration: int, count: int) -> Tasks:
            return super().sample(seed, 0, count)

    found = failures(Stuck())
    assert found[DETERMINISM].startswith("every iteration draws the same tasks")


def test_noise_from_a_global_generator():
    class Noisy(Line):
        def transition(
            self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
        ) -> Tensor:
            return state + action + 0.01 * torch.randn_like(state)

    found = failures(Noisy())
    assert_matches(found[DETERMINISM], "the same episodes again .* observations differ, first at ")
    assert "draw all random numbers from the `random` argument" in found[DETERMINISM]


def test_rows_that_depend_on_each_other():
    class Competing(Line):
        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            reward = super().reward(before, after, action, tasks)
            return reward - reward.mean()

    message = only_failure(Competing(), LAYOUT)
    assert_matches(
        message, "1 of 4 tasks in an environment of their own: rewards differ, first at "
    )
    assert message.endswith("with no mean, index or draw across environments")


def test_an_engine_whose_numbers_depend_on_its_threads():
    class Threaded(Line):
        threads = 1

        def make_engine(self, environments: int, threads: int) -> Engine:
            family = Threaded()
            family.threads = threads
            return TensorEngine(family)

        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            return super().reward(before, after, action, tasks) + 1e-9 * self.threads

    assert only_failure(Threaded(), LAYOUT).startswith("2 threads instead of 1: rewards differ")


class _Compounding(TensorEngine):
    """Scales what it has by the tasks, again and again."""

    scale = torch.ones(())

    def set_tasks(self, tasks: Tasks) -> None:
        self.scale = self.scale * (2.0 + tasks["goal"])
        super().set_tasks(tasks)

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        result = super().step(actions, ids)
        return result._replace(reward=result.reward * self.scale)


def test_an_engine_whose_scales_compound():
    class Scaled(Line):
        def make_engine(self, environments: int, threads: int) -> Engine:
            return _Compounding(self)

    message = only_failure(Scaled(), SET_TASKS)
    assert message.startswith("set_tasks twice with the same tasks: rewards differ, first at time")
    assert "so that scales do not compound" in message


# What a task does ----------------------------------------------------------------------------


class _Windy(Line):
    """Walk along a line, in a wind that does nothing.

    See `Line`. Task parameters: `goal` ~ U[-1, 1]; `wind` ~ U[0, 0.5].
    """

    parameters = Line.parameters | {"wind": Uniform(0.0, 0.5)}


def test_a_parameter_that_changes_nothing():
    message = only_failure(_Windy(), PARAMETERS)
    assert message.startswith("wind changed no reward, observation or end of an episode; use it in")


def test_a_parameter_that_never_varies():
    family = type("Calm", (_Windy,), {"parameters": Line.parameters | {"wind": Choice([0.25])}})
    family.__doc__ = (_Windy.__doc__ or "").replace("U[0, 0.5]", "0.25")
    message = only_failure(family(), PARAMETERS)
    assert message == "wind has the same value in all tasks; give it a range, or leave it out"


def test_a_parameter_that_varies_in_the_test_list_only():
    class Gusty(_Windy):
        parameters = Line.parameters | {"wind": Choice([0.25])}
        test_parameters = {"wind": Uniform(0.3, 0.5)}

        def transition(
            self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
        ) -> Tensor:
            after = super().transition(state, action, tasks, random)
            return after + tasks["wind"].unsqueeze(1)

    Gusty.__doc__ = (_Windy.__doc__ or "").replace("U[0, 0.5]", "0.25")
    assert failures(Gusty()) == {}


def test_a_parameter_that_only_patient_episodes_show():
    class Sparse(Line):
        """Find the far side where there is a reward.

        See `Line`. Task parameters: `goal`, -1 or 1.
        """

        parameters = {"goal": Choice([-1.0, 1.0])}
        ood_parameters = {}
        horizon = 60

        def transition(
            self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
        ) -> Tensor:
            return state + 0.1 * action

        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            # Three units away: a walk of 30 steps at full speed, many times that by chance.
            return (after[:, 0] * tasks["goal"] > 3.0).double()

    Sparse.__doc__ = (Sparse.__doc__ or "") + "\nHorizon 60."
    assert failures(Sparse()) == {}


class _Open(Line):
    """Walk along a line, and see where the goal is.

    See `Line`. Task parameters: `goal` ~ U[-1, 1].
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return torch.stack([state[:, 0], state[:, 0] - tasks["goal"]], dim=1)


def test_an_observation_that_shows_the_goal():
    message = only_failure(_Open(), LEAK)
    assert message.startswith(
        "after a reset with equal random numbers, observations differ with goal"
    )
    assert "take it out of the observation" in message


def test_an_observation_that_shows_the_goal_only_later():
    class Later(_Open):
        def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
            far = state[:, 0].abs() > 1.0
            shown = torch.where(far, tasks["goal"], 0.0)
            return torch.stack([state[:, 0], shown], dim=1)

    assert_matches(
        only_failure(Later(), LEAK), r"in equal states after time step \d+, .* with goal"
    )


def test_a_start_that_shows_the_goal():
    class Behind(Line):
        def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
            return super().reset(random, tasks) - tasks["goal"].unsqueeze(1)

    assert "after a reset" in only_failure(Behind(), LEAK)


def test_visible_parameters_may_be_seen_and_only_they():
    assert failures(type("Shown", (_Open,), {"visible_parameters": ("goal",)})()) == {}

    class Masked(_Open):
        """Walk along a line, and see the goal through a mask.

        See `Line`. Task parameters: `goal` ~ U[-1, 1]; `mask`, 0 or 1.
        """

        parameters = Line.parameters | {"mask": Choice([0.0, 1.0])}
        visible_parameters = ("mask",)

        def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
            goal = tasks["goal"] * tasks["mask"] if type(self) is Leaky else tasks["mask"]
            return torch.stack([state[:, 0], goal], dim=1)

    class Leaky(Masked):
        __doc__ = Masked.__doc__

    assert failures(Masked()) == {}
    assert "differ with goal alone" in only_failure(Leaky(), LEAK)


# MuJoCo --------------------------------------------------------------------------------------


class Cheetah(MujocoFamily):
    """Run with an unknown mass.

    Observation, action, start, termination: qpos and qvel; torques; nominal; never. Horizon 20.
    Reward: velocity.
    Task parameters: `mass_scale` ~ U[0.5, 2].
    Source: this test.
    """

    name = "Cheetah-v0"
    xml = "half_cheetah.xml"
    horizon = 20
    parameters = {"mass_scale": Uniform(0.5, 2.0)}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (18,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        return random.uniform(-0.1, 0.1, (9,)), random.normal(0.1, (9,))

    def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
        return torch.cat([state.qpos, state.qvel], dim=1)

    def reward(
        self, before: MujocoState, after: MujocoState, action: Tensor, tasks: Tasks
    ) -> Tensor:
        return after.qvel[:, 0]

    def physics(self, nominal: NominalModel, tasks: Tasks) -> Mapping[str, Tensor]:
        return {"body_mass": nominal["body_mass"] * tasks["mass_scale"].unsqueeze(1)}


def test_a_body_whose_mass_varies_passes_every_check():
    assert failures(Cheetah()) == {}


def test_a_body_whose_mass_does_not_vary():
    family = type("Rigid", (Cheetah,), {"__doc__": Cheetah.__doc__, "physics": lambda *_: {}})()
    assert only_failure(family, PARAMETERS).startswith("mass_scale changed no reward")


def test_a_physics_state_that_is_changed_in_place():
    class InPlace(Cheetah):
        def observation(self, state: MujocoState, tasks: Tasks) -> Tensor:
            return torch.cat([state.qpos.clamp_(-100.0, 100.0), state.qvel], dim=1)

    InPlace.__doc__ = Cheetah.__doc__
    assert only_failure(InPlace(), FRESH).startswith("observation changes its arguments in place")


# Exceptions ----------------------------------------------------------------------------------


def test_an_exception_is_one_line_and_names_the_function():
    class Raising(Line):
        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            raise RuntimeError("no\n\nreward")

    found = failures(Raising())
    assert CONTRACT not in found
    assert SPLITS not in found
    place = r"RuntimeError in \S*Raising.reward: no reward; mend what raises it"
    assert_matches(found[LAYOUT], place)


def test_a_family_without_an_engine():
    class Bare(TaskDistribution):
        parameters = {"goal": Uniform(-1.0, 1.0)}
        observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    assert "derive it from TensorFamily, MujocoFamily or" in failures(Bare())[LAYOUT]


# The command line ----------------------------------------------------------------------------


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test registers is known, and forgotten after it."""
    names()
    monkeypatch.setattr(registry, "_families", {})


def _check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["check", *arguments])
    output = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, output.out.splitlines(), output.err


@pytest.mark.usefixtures("own_registry")
def test_a_line_for_each_check(capsys):
    register("Line-v0")(type("Good", (Line,), {}))
    code, lines, errors = _check(capsys, "Line-v0")
    assert (code, errors) == (0, "")
    assert lines == ["Line-v0", *(f"  ok   {check}" for check in CHECKS)]


@pytest.mark.usefixtures("own_registry")
def test_a_failure_is_told_and_does_not_stop_the_others(capsys):
    register("Open-v0")(type("Shown", (_Open,), {}))
    register("Windy-v0")(type("Calm", (_Windy,), {"horizon": 20}))
    code, lines, errors = _check(capsys, "Open-v0", "Windy-v0")
    assert (code, errors) == (1, "")
    assert len(lines) == 2 * (1 + len(CHECKS)) + 1
    assert [line[:8] for line in lines].count("  FAIL n") == 1
    assert (
        "  FAIL contract docstring complete: the docstring does not state the horizon" in lines[13]
    )
    assert lines[-1] == "0 of 2 families pass every check; failed: Open-v0 and Windy-v0"


@pytest.mark.usefixtures("own_registry")
def test_all_families_but_those_that_need_another_package(capsys):
    class Elsewhere(Line):
        def __init__(self) -> None:
            raise UserError("Elsewhere-v0 needs box2d; pip install 'metarl[box2d]'")

    register("Line-v0")(type("Good", (Line,), {}))
    register("Elsewhere-v0")(Elsewhere)
    code, lines, _ = _check(capsys, "--all")
    assert code == 0
    assert lines[:3] == [
        "Elsewhere-v0",
        "  skip cannot be made: Elsewhere-v0 needs box2d; pip install 'metarl[box2d]'",
        "Line-v0",
    ]
    assert lines[-1] == "1 of 2 families pass every check; skipped: Elsewhere-v0"
    code, lines, _ = _check(capsys, "Elsewhere-v0")
    assert code == 1
    assert lines[1].startswith("  FAIL cannot be made: Elsewhere-v0 needs box2d; pip install")


@pytest.mark.usefixtures("own_registry")
def test_a_constructor_that_raises_is_a_failure(capsys):
    class Demanding(Line):
        def __init__(self, goals: int):
            self.goals = goals

    register("Demanding-v0")(Demanding)
    code, lines, _ = _check(capsys, "--all")
    assert code == 1
    assert "  FAIL cannot be made: TypeError: " in lines[1]
    assert "missing 1 required positional argument: 'goals'" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either NAMEs of families or --all; see `metarl check --help`"),
        (["--all", "PointNavigation-v0"], "give either NAMEs of families or --all"),
        (["PointNavigation-v0", "HalfCheetahVell-v0"], "did you mean 'HalfCheetahVel-v0'"),
        (["no_such_module:Point-v0"], "the module 'no_such_module' cannot be imported"),
        (["PointNavigation-v0", "--run.seed", "1"], "run.seed has no place here"),
    ],
)
def test_what_is_refused(capsys, arguments, message):
    code, lines, errors = _check(capsys, *arguments)
    assert (code, lines) == (2, [])
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors


def test_a_family_from_the_current_folder(tmp_path: Path):
    source = Path(__file__).read_text()
    imports = source[source.index("from collections") : source.index("from metarl import cli")]
    rest = "from metarl.simulation import TensorFamily\n"
    rest += "from metarl.tasks import Tasks, TaskStreams, Uniform, register\n\n"
    line = source[source.index("class Line(") : source.index("def failures(")]
    text = imports + rest + '@register("OwnLine-v0")\n' + line
    (tmp_path / "own.py").write_text(text)
    command = [sys.executable, "-m", "metarl", "check", "own:OwnLine-v0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["own:OwnLine-v0", *(f"  ok   {check}" for check in CHECKS)]
