"""How tasks are stepped: one vector environment, and the engines beneath it."""

from metarl.simulation.gymnasium import GymnasiumFamily
from metarl.simulation.mujoco import MujocoFamily, MujocoState
from metarl.simulation.tensor import TensorFamily
from metarl.simulation.vector_env import TaskVectorEnv

__all__ = ["GymnasiumFamily", "MujocoFamily", "MujocoState", "TaskVectorEnv", "TensorFamily"]
