"""Learners from outside: their names, plugins that are really installed, and their checks."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from metarl.algorithms import Learner, Metrics, algorithms, find_learner, register_learner, registry
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.conformance.learners import check_learner, tiny_config
from metarl.errors import UserError
from metarl.listing import as_json, as_text
from metarl.policies import stack
from metarl.sampling import Batch, Sampler, Trajectories


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    algorithms()
    monkeypatch.setattr(registry, "ALGORITHMS", dict(registry.ALGORITHMS))


@dataclass(frozen=True)
class OwnConfig(MAMLConfig):
    name: str = "own"


class Own(MAML):
    """Steps against the first gradient, rounded.

    More about it.
    """

    def outer_step(self, pre: Sequence[Batch], post: Batch) -> Metrics:
        for name, value in self.parameters.items():
            self.parameters[name] = value + 0.125
        return {}


@pytest.mark.usefixtures("own_registry")
def test_a_learner_is_listed_found_and_configured_by_its_name():
    register_learner("own", OwnConfig)(Own)
    assert find_learner("own").learner is Own
    assert tiny_config("own").algorithm == OwnConfig()
    assert find_learner("own").summary == "Steps against the first gradient, rounded"
    listed = {each["name"]: each["summary"] for each in as_json()["algorithms"]}
    assert listed["own"] == "Steps against the first gradient, rounded"
    assert listed["maml_trpo"].startswith("MAML with a TRPO")
    assert "Steps against the first gradient" in as_text(100)


@pytest.mark.parametrize("name", ["Own", "0wn", "my-own", "my:own", ""])
def test_a_name_has_no_odd_characters(name: str):
    with pytest.raises(ValueError, match="a learner's name looks like 'maml_trpo'"):
        register_learner(name, OwnConfig)


def test_settings_are_a_dataclass_that_knows_the_name():
    @dataclass(frozen=True)
    class Narrow:
        name: Literal["own"] = "own"  # `module:own` would not pass

    for settings in (dict, MAMLConfig, Narrow):
        with pytest.raises(ValueError, match="settings of own must be a dataclass with `name: str"):
            register_learner("own", settings)


@pytest.mark.usefixtures("own_registry")
def test_a_name_is_registered_once():
    register_learner("own", OwnConfig)(Own)
    register_learner("own", OwnConfig)(Own)  # the same class: a module imported again
    with pytest.raises(ValueError, match="own is registered already, by "):
        register_learner("own", OwnConfig)(type("Other", (Own,), {"__module__": "other"}))


def test_an_unknown_name_is_answered_in_one_line():
    with pytest.raises(
        UserError, match=r"algorithm.name is an unknown .*'mamltrpo'; .*'maml_trpo'"
    ):
        tiny_config("mamltrpo")
    with pytest.raises(UserError, match=r"unknown algorithm 'absent'; known: .*maml_trpo"):
        find_learner("metarl.algorithms.promp:absent")
    with pytest.raises(
        UserError, match=r"module 'absent_module' cannot be imported: .*; run where"
    ):
        tiny_config("absent_module:own")


PLUGIN = """
from dataclasses import dataclass
from metarl.algorithms import register_learner
from metarl.algorithms.promp import ProMP, ProMPConfig


@dataclass(frozen=True)
class Config(ProMPConfig):
    name: str = "{name}"


@register_learner("{name}", Config, "ProMP by another name")
class Renamed(ProMP):
    pass
"""


def _install(folder: Path, package: str, source: str) -> None:
    """A package with an entry point, as an installer leaves it on the path."""
    (folder / f"{package}.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metarl.learners]\n{package} = {package}\n")


def test_plugins_are_found_and_a_broken_one_or_a_thief_warns(tmp_path: Path):
    _install(tmp_path, "a_learner", PLUGIN.format(name="renamed"))
    _install(tmp_path, "b_broken", "raise RuntimeError('no licence')\n")
    _install(tmp_path, "c_thief", PLUGIN.format(name="promp"))
    code = "from metarl.conformance.learners import tiny_config\n"
    code += "print(type(tiny_config('renamed').algorithm).__module__)\n"
    code += "print(type(tiny_config('promp').algorithm).__module__)\n"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["a_learner", "metarl.algorithms.promp"]
    assert "the learners of plugin 'b_broken' could not be loaded" in done.stderr
    assert "promp is registered already, by metarl.algorithms.promp" in done.stderr


# The checks find what they are for ------------------------------------------------------------


class Broken(Learner):
    """Passes all checks; the classes below each fail some."""

    def __init__(
        self,
        policy: Any,
        config: Any,
        generator: np.random.Generator,
        device: Any = "cpu",
        workers: Any = None,
    ):
        self.policy = policy
        self.parameters = policy.initial_parameters(generator)

    def meta_update(self, sampler: Sampler) -> Metrics:
        mean = float(sampler.collect(stack(self.parameters, sampler.task_count)).returns.mean())
        self.learn(mean)
        names = ("return_pre", "return_post", "adaptation_gain", "failed_episodes")
        return {f"train/{name}": mean for name in names}

    def learn(self, mean: float) -> None:
        self.parameters = {name: value + 0.01 * mean for name, value in self.parameters.items()}

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        for _ in range(steps + 1):
            yield sampler.collect(stack(self.parameters, sampler.task_count))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.parameters)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.parameters = dict(state)


class Silent(Broken):
    def meta_update(self, sampler: Sampler) -> Metrics:
        return {k: v for k, v in super().meta_update(sampler).items() if "gain" not in k}


class Idle(Broken):
    def learn(self, mean: float) -> None:
        pass


class Wild(Broken):
    def learn(self, mean: float) -> None:
        self.parameters = {name: value / 0.0 for name, value in self.parameters.items()}


class Live(Broken):
    def learn(self, mean: float) -> None:
        for value in self.parameters.values():
            value += 0.01 * mean


class Unsavable(Broken):
    def state_dict(self) -> dict[str, Any]:
        return {**self.parameters, "mean": np.float64(1.0)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.parameters = {name: value for name, value in state.items() if name != "mean"}


class Forgetful(Broken):
    counter = 0.0

    def learn(self, mean: float) -> None:
        self.counter += 1.0
        super().learn(self.counter)


class Random(Broken):
    def learn(self, mean: float) -> None:
        super().learn(float(torch.rand(())))


class Short(Broken):
    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        return super().adaptation(sampler, steps - 1, rates)


class Repeating(Broken):
    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        yield from [next(super().adaptation(sampler, steps, rates))] * (steps + 1)


class Changing(Broken):
    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        for trajectories in super().adaptation(sampler, steps, rates):
            yield trajectories
            self.learn(1.0)


class Crashing(Broken):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise ZeroDivisionError("by\nzero")


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("learner", "found"),
    [
        (Broken, []),
        (Silent, ["must report train/adaptation_gain"]),
        (Idle, ["meta_update left the state as it was"]),
        (Live, ["changed a state that was handed out: give copies"]),
        (Unsavable, ["is a float64, which a checkpoint cannot hold; use tensors"]),
        (Forgetful, ["after load_state_dict, the next meta_update differs: another state"]),
        (
            Random,
            [
                "after load_state_dict, the next meta_update differs: another state",
                "three threads give other numbers than one: another state",
            ],
        ),
        (Short, ["2 steps make 3 points, got 2"]),
        (Repeating, ["a point was given twice"]),
        (Changing, ["adaptation changed the state"]),
        (Crashing, ["ZeroDivisionError: by zero"]),
    ],
)
def test_a_broken_learner_fails_the_check_that_is_for_it(learner: type, found: list[str]):
    register_learner("own", OwnConfig)(learner)
    messages = [result.message for result in check_learner("own") if not result.ok]
    assert len(messages) == len(found), messages
    for message, expected in zip(messages, found, strict=True):
        assert expected in message


@pytest.mark.usefixtures("own_registry")
def test_a_state_that_is_not_finite_is_found():
    register_learner("own", OwnConfig)(Wild)
    results = {result.check: result for result in check_learner("own")}
    failed = results["state is finite, a copy, and fits into a checkpoint"]
    assert not failed.ok
    assert "not finite: state['" in failed.message


@pytest.mark.usefixtures("own_registry")
def test_a_learner_of_the_maml_family_passes_in_both_worlds():
    register_learner("own", OwnConfig)(Own)
    assert all(
        result.ok for world in ("continuous", "discrete") for result in check_learner("own", world)
    )
