"""MuJoCo's built-in profiler, which its Python bindings switch on for the whole process."""

import ctypes
from pathlib import Path

import mujoco

# The global function pointer that the profiler reads the clock with; NULL switches it off. The
# bindings' own `set_mjcb_time(None)` puts their clock back instead.
_CLOCK = "mjcb_time"


def set_profiling(on: bool) -> bool:
    """Switch `MjData.timer` on or off, and say whether it was on.

    Reading the clock some thirty times per physics step costs a sixth of the speed of a small
    robot. The physics does not depend on it. Where the library does not show its switch, this does
    nothing.
    """
    if _switch is None:
        return True
    was_on = bool(_switch.value)
    _switch.value = _DEFAULT if on else None
    return was_on


def _find_switch() -> ctypes.c_void_p | None:
    for path in sorted(Path(mujoco.__file__).parent.glob("*mujoco*")):
        if path.suffix == ".dll" or ".so" in path.suffixes or path.suffix == ".dylib":
            try:
                return ctypes.c_void_p.in_dll(ctypes.CDLL(str(path)), _CLOCK)
            except (OSError, ValueError):
                continue
    return None


_switch = _find_switch()
_DEFAULT = _switch.value if _switch is not None else None
