"""The switch of MuJoCo's profiler."""

import sys
from collections.abc import Iterator

import mujoco
import pytest

from metarl.simulation import TaskVectorEnv, profiling
from metarl.simulation.engine import SimulatedFamily
from metarl.simulation.profiling import set_profiling
from metarl.tasks import make

MODEL = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    was_on = set_profiling(True)
    yield
    set_profiling(was_on)


def _is_timed() -> bool:
    model = mujoco.MjModel.from_xml_string(MODEL)  # pyright: ignore[reportAttributeAccessIssue]
    data = mujoco.MjData(model)  # pyright: ignore[reportAttributeAccessIssue]
    mujoco.mj_step(model, data)  # pyright: ignore[reportAttributeAccessIssue]
    return float(data.timer[0].duration) > 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the switch may be hidden")
def test_the_profiler_is_off_and_on_again():
    assert set_profiling(True)
    assert _is_timed()
    assert set_profiling(False)
    assert not _is_timed()
    assert not set_profiling(True)
    assert _is_timed()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the switch may be hidden")
def test_an_engine_switches_it_off():
    set_profiling(True)
    family = make("HalfCheetahVel-v0")
    assert isinstance(family, SimulatedFamily)
    TaskVectorEnv(family, 1)
    assert not set_profiling(True)


def test_without_the_switch_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(profiling, "_switch", None)
    assert set_profiling(False)
    assert _is_timed()
