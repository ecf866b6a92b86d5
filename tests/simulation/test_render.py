"""Pictures of environments: what is in them, and what is said where there is no OpenGL."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation import MujocoFamily, TaskVectorEnv, TensorFamily, camera
from metarl.simulation.render import frame
from metarl.tasks import Tasks, TaskStreams, Uniform, make


def opengl_problem() -> str:
    """Why robots cannot be drawn on this machine; empty if they can."""
    try:
        camera.opengl_library()
    except UserError as error:
        return str(error)
    return ""


needs_opengl = pytest.mark.skipif(bool(opengl_problem()), reason=opengl_problem())


class Counter(TensorFamily):
    """Two numbers: how often it was stepped, and the task."""

    name = "Counter-v0"
    parameters = {"second": Uniform(-1.0, 1.0)}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.stack([torch.zeros_like(tasks["second"]), tasks["second"]], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + torch.tensor([0.25, 0.0], dtype=torch.float64)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, 0]


class FatHopper(MujocoFamily):
    """The hopper with a torso whose radius is the task."""

    name = "FatHopper-v0"
    parameters = {"radius": Uniform(0.05, 0.3)}
    xml = "hopper.xml"
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
        n = len(tasks)
        return self.nominal["qpos0"].expand(n, -1), torch.zeros(n, 6, dtype=torch.float64)

    def observation(self, state: Any, tasks: Tasks) -> Tensor:
        return state.qpos

    def reward(self, before: Any, after: Any, action: Tensor, tasks: Tasks) -> Tensor:
        return after.qpos[:, 0]

    def physics(self, nominal: Any, tasks: Tasks) -> dict[str, Tensor]:
        size = nominal["geom_size"].expand(len(tasks), -1, -1).clone()
        size[:, nominal.geom("torso_geom"), 0] = tasks["radius"]
        return {"geom_size": size}


def started(family: Any, tasks: Tasks | None = None, **sizes: int) -> TaskVectorEnv:
    env = TaskVectorEnv(family, len(tasks) if tasks else 1, threads=1, **sizes)
    if tasks:
        env.set_tasks(tasks)
    env.reset(seed=0)
    return env


def step(env: TaskVectorEnv, times: int = 1) -> None:
    for _ in range(times):
        env.step(np.full_like(env.action_space.sample(), 0.5))


def blue(picture: np.ndarray) -> np.ndarray:
    """Where the bars of the default drawing are."""
    red, _, blueness = picture.astype(int).transpose(2, 0, 1)
    return blueness - red > 100


def columns(where: np.ndarray) -> np.ndarray:
    return np.flatnonzero(where.any(axis=0))


# Tensor worlds -------------------------------------------------------------------------------


def test_the_default_picture_is_a_bar_for_each_number_on_a_fixed_scale() -> None:
    env = started(Counter(), Tasks({"second": [-1.0]}))
    step(env, 2)  # 0.5 of a scale of 1
    bars = blue(frame(env, width=400, height=300))
    upper, lower = columns(bars[:142]), columns(bars[142:])  # the axes' middle is row 142
    middle, unit = 221, 165  # they go from column 56 to 386
    np.testing.assert_allclose((upper.min(), upper.max()), (middle, middle + unit / 2), atol=3)
    np.testing.assert_allclose((lower.min(), lower.max()), (middle - unit, middle), atol=3)


def test_a_picture_is_of_the_environment_with_this_index() -> None:
    env = started(Counter(), Tasks({"second": [-0.5, 0.75]}))
    left, right = (columns(blue(frame(env, index))) for index in (0, 1))
    assert left.max() < 264  # the middle is column 261
    assert right.min() > 258


def test_a_family_draws_its_own_picture() -> None:
    class Painted(Counter):
        def draw(self, axes: Any, state: Tensor, tasks: Tasks) -> None:
            assert state.shape == (1, 2)
            assert len(tasks) == 1
            axes.set_facecolor((1.0, float(tasks["second"][0]), 0.0))

    env = started(Painted(), Tasks({"second": [0.0, 0.6]}))
    assert frame(env, 0)[160, 240].tolist() == [255, 0, 0]
    assert frame(env, 1)[160, 240].tolist() == [255, 153, 0]


def test_pictures_have_the_wanted_size_whatever_the_engine_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = started(Counter())
    assert frame(env, width=200, height=170).shape == (170, 200, 3)
    square = np.zeros((50, 50, 3), np.uint8)
    monkeypatch.setattr(env.engine, "frame", lambda index, width, height: square)
    fitted = frame(env, width=300, height=100)
    assert fitted.dtype == np.uint8
    assert fitted.shape == (100, 300, 3)
    assert (fitted[:, :99] == 255).all()
    assert (fitted[:, 101:199] == 0).all()


# Robots --------------------------------------------------------------------------------------


@needs_opengl
@pytest.mark.parametrize("name", ["HalfCheetahVel-v0", "HalfCheetahVelMAML-v0"])
def test_a_robot_is_seen_to_move(name: str) -> None:
    env = started(make(name))
    before = frame(env, width=160, height=120)
    assert before.shape == (120, 160, 3)
    assert before.std() > 20
    np.testing.assert_array_equal(frame(env, width=160, height=120), before)
    step(env, 10)
    assert (frame(env, width=160, height=120) != before).any(axis=-1).mean() > 0.05
    env.close()


@needs_opengl
def test_a_picture_shows_the_body_of_its_own_task() -> None:
    env = started(FatHopper(), Tasks({"radius": [0.05, 0.05, 0.3]}))
    thin, same, fat = (frame(env, index, 160, 120) for index in range(3))
    np.testing.assert_array_equal(thin, same)
    # The fat torso hides more of the background.
    assert (thin != fat).any(axis=-1).mean() > 0.02
    env.close()


@needs_opengl
def test_pictures_change_no_physics() -> None:
    family = make("HalfCheetahVel-v0")
    watched, blind = started(family), started(family)
    for _ in range(5):
        frame(watched, width=160, height=120)
        step(watched)
        step(blind)
    action = np.zeros((1, 6), np.float32)
    np.testing.assert_array_equal(watched.step(action)[0], blind.step(action)[0])
    watched.close()


@needs_opengl
def test_a_camera_is_kept_until_another_size_is_wanted_or_the_environment_closed() -> None:
    env = started(make("HalfCheetahVel-v0"))
    engine: Any = env.engine
    frame(env, width=160, height=120)
    kept = engine._camera
    frame(env, width=160, height=120)
    assert engine._camera is kept
    # More than the 640 pixels that MuJoCo's off-screen buffer has by default.
    assert frame(env, width=700, height=500)[:, 650:].std() > 10
    assert engine._camera is not kept
    env.close()
    assert engine._camera is None


@needs_opengl
def test_a_robot_without_a_tracking_camera_is_followed_by_a_free_one(
    tmp_path: Path,
) -> None:
    text = """<mujoco><option gravity="0 0 0"/><worldbody><light pos="0 0 9"/>
    <body><joint name="x" type="slide" axis="1 0 0"/><geom size="0.3" rgba="1 0 0 1"/></body>
    </worldbody><actuator><motor joint="x" gear="20000" ctrlrange="-1 1"/></actuator></mujoco>"""
    (tmp_path / "ball.xml").write_text(text)

    class Ball(FatHopper):
        xml = str(tmp_path / "ball.xml")
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)

        def reset(self, random: TaskStreams, tasks: Tasks) -> tuple[Tensor, Tensor]:
            zeros = torch.zeros(len(tasks), 1, dtype=torch.float64)
            return zeros, zeros

        def physics(self, nominal: Any, tasks: Tasks) -> dict[str, Tensor]:
            return {}

    env = started(Ball())

    def center() -> np.ndarray:
        red = frame(env, width=160, height=120)[..., 0] > 60
        assert red.any()
        return np.argwhere(red).mean(axis=0)

    before = center()
    step(env, 20)
    assert env.step(np.zeros((1, 1), np.float32))[0][0, 0] > 1.0  # it has left the first picture
    np.testing.assert_allclose(center(), before, atol=2)
    env.close()


# Without OpenGL ------------------------------------------------------------------------------


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The libraries that were tried on a machine on which none of them works."""
    found: list[str] = []

    def run(command: Any, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        found.append(env["MUJOCO_GL"])
        return subprocess.CompletedProcess(
            command, 1, "", "Traceback\nImportError: no such thing\n"
        )

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(camera.sys, "platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    camera._first_that_draws.cache_clear()
    return found


def test_without_opengl_one_line_says_what_to_install(tried: list[str]) -> None:
    env = started(FatHopper())
    expected = (
        r"no OpenGL to draw robots with \(egl: ImportError: no such thing; "
        r"osmesa: ImportError: no such thing\); install libegl1 .* or libosmesa6"
    )
    with pytest.raises(UserError, match=expected):
        frame(env)
    assert tried == ["egl", "osmesa"]


def test_a_display_is_the_last_resort(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(UserError):
        camera.opengl_library()
    assert tried == ["egl", "osmesa", "glfw"]


def test_mujoco_gl_decides(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(UserError, match="osmesa: ImportError"):
        camera.opengl_library()
    assert tried == ["osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "off")
    with pytest.raises(UserError, match="MUJOCO_GL=off switches pictures off; unset it"):
        camera.opengl_library()
    assert tried == ["osmesa"]


def test_a_mujoco_gl_that_mujoco_refuses_is_answered_with_one_line(tmp_path: Path) -> None:
    words = ("render", "HalfCheetahVel-v0", "--output", "x.gif")
    command = [sys.executable, "-m", "metarl", *words]
    environment = {**os.environ, "MUJOCO_GL": "elg"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: MuJoCo cannot be imported with MUJOCO_GL=elg (")
    assert result.stderr.endswith("or install libegl1 (egl) or libosmesa6 (osmesa)\n")
    assert result.stderr.count("\n") == 1
