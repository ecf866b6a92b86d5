"""What is sampled: task parameters, batches of tasks, task distributions, their registry."""

from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.parameters import (
    Choice,
    Dirichlet,
    ElementwiseChoice,
    LogUniform,
    Normal,
    OneHot,
    Parameter,
    Uniform,
    UniformDisc,
    UnitVector,
)
from metarl.tasks.registry import make, names, register
from metarl.tasks.streams import TaskStreams, stream
from metarl.tasks.tasks import Tasks

__all__ = [
    "Choice",
    "Dirichlet",
    "ElementwiseChoice",
    "LogUniform",
    "Normal",
    "OneHot",
    "Parameter",
    "TaskDistribution",
    "TaskStreams",
    "Tasks",
    "Uniform",
    "UniformDisc",
    "UnitVector",
    "make",
    "names",
    "register",
    "stream",
]
