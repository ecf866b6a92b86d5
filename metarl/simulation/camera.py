"""Pictures of MuJoCo robots without a display, by EGL or OSMesa."""

# MuJoCo's compiled modules come without type stubs.
# pyright: reportAttributeAccessIssue=false

import functools
import importlib
import os
import subprocess
import sys

import mujoco
import numpy as np

from metarl.errors import UserError

TRACKING_CAMERA = "track"
"""The name that Gymnasium's robots give to the camera that follows them."""
_PROBE = """
import mujoco
from mujoco.{} import GLContext
context = GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
"""
_LONGEST_REASON = 120
_OFF = ("disable", "disabled", "off", "false", "0")
_INSTALL = "install libegl1 and libgl1-mesa-dri, or libosmesa6, or run where there is a display"


class MujocoCamera:
    """Follows the robot of one model; other bodies of the same robot may pose for it.

    Args:
        model: the model; others that are pictured may differ in numbers only.
        width: of the pictures, in pixels.
        height: likewise.

    Raises UserError where there is no OpenGL.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int):
        self.size = (width, height)
        self._camera = _following_camera(model)
        self._options = mujoco.MjvOption()
        self._scene = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 100)
        context = importlib.import_module(f"mujoco.{opengl_library()}").GLContext
        self._context = context(width, height)
        self._context.make_current()
        size_there = model.vis.global_
        size_there.offwidth, size_there.offheight = width, height
        font = mujoco.mjtFontScale.mjFONTSCALE_100.value
        self._renderer = mujoco.MjrContext(model, font)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._renderer)

    def picture(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """The body `model` in the state `data`, uint8 `[height, width, 3]`.

        Everything in `data` that follows from positions and velocities is computed anew.
        """
        width, height = self.size
        mujoco.mj_forward(model, data)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            model, data, self._options, None, self._camera, everything, self._scene
        )
        self._context.make_current()
        area = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(area, self._scene, self._renderer)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, area, self._renderer)
        return pixels[::-1].copy()  # OpenGL counts rows from the bottom

    def close(self) -> None:
        """Free the memory of the graphics library; the camera takes no pictures after that."""
        self._context.make_current()
        self._renderer.free()
        self._context.free()


def _following_camera(model: mujoco.MjModel) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    kind = mujoco.mjtObj.mjOBJ_CAMERA.value
    camera.fixedcamid = mujoco.mj_name2id(model, kind, TRACKING_CAMERA)
    if camera.fixedcamid >= 0:
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    else:
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        camera.trackbodyid = 1  # the robot's root: body 0 is the world
    return camera


def opengl_library() -> str:
    """The module of `mujoco` whose OpenGL works here: `egl`, `osmesa`, `glfw` or `cgl`.

    The one that MUJOCO_GL names, else the first that draws. Raises UserError when none does.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wanted in _OFF:
        raise UserError(f"MUJOCO_GL={wanted} switches pictures off; unset it or set it to egl")
    return _first_that_draws((wanted,) if wanted in ("egl", "osmesa", "glfw") else _candidates())


def _candidates() -> tuple[str, ...]:
    if sys.platform == "linux":
        return ("egl", "osmesa", "glfw") if os.environ.get("DISPLAY") else ("egl", "osmesa")
    return ("cgl", "glfw") if sys.platform == "darwin" else ("glfw",)


@functools.cache
def _first_that_draws(libraries: tuple[str, ...]) -> str:
    problems = {}
    for library in libraries:
        problem = _problem_with(library)
        if problem is None:
            return library
        problems[library] = problem
    reasons = "; ".join(f"{library}: {problem}" for library, problem in problems.items())
    raise UserError(f"no OpenGL to draw robots with ({reasons}); {_INSTALL}")


def _problem_with(library: str) -> str | None:
    """Why a library cannot draw; None if it can.

    Tried in a process of its own: PyOpenGL binds one library for good, works or not, and a broken
    driver may end the process.
    """
    command = [sys.executable, "-c", _PROBE.format(library)]
    environment = {**os.environ, "MUJOCO_GL": library}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode == 0:
        return None
    lines = [line for line in result.stderr.split("\n") if line.strip()]
    return lines[-1][:_LONGEST_REASON] if lines else f"exit {result.returncode}"
