"""How tasks are stepped: one vector environment, and the engines beneath it."""

from metarl.simulation.mujoco import MujocoFamily, MujocoState
from metarl.simulation.tensor import TensorFamily
from metarl.simulation.vector_env import TaskVectorEnv

__all__ = ["MujocoFamily", "MujocoState", "TaskVectorEnv", "TensorFamily"]
