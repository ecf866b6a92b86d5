"""What a vector environment asks of an engine, and of a family that an engine can step."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from metarl.tasks import TaskDistribution, Tasks, TaskStreams


class StepResult(NamedTuple):
    """What one time step of n environments gave."""

    observation: Tensor
    """`[n, *observation]`, a fresh tensor."""
    reward: Tensor
    """`[n]`."""
    terminated: Tensor
    """`[n]` bool: the task's own end of an episode."""
    failed: Tensor
    """`[n]` bool: the physics diverged; observation and reward of this step mean nothing."""


class Engine(Protocol):
    """Steps n = K * N environments of one family, in task-major order."""

    def set_tasks(self, tasks: Tasks) -> None:
        """Give every environment its task: `tasks` holds n rows."""
        ...

    def reset(self, streams: TaskStreams, ids: Tensor | None) -> Tensor:
        """Start new episodes in environments `ids` (None: all); observations of all `[n, ...]`."""
        ...

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        """One time step of environments `ids` (None: all); `actions` and results hold n rows."""
        ...

    def copy_state(self, source: int) -> Tensor:
        """Put all environments into the state of one, each keeping its task; observations of all.

        For comparing tasks under equal state. An engine that cannot copy states starts episodes
        from equal random numbers instead.
        """
        ...

    def frame(self, index: int, width: int, height: int) -> np.ndarray:
        """A picture of one environment as it is now, uint8 `[height, width, 3]`, RGB.

        An engine that draws in a size of its own may return that size.
        """
        ...

    def close(self) -> None:
        """Free what pictures needed; the engine is not used after that."""
        ...


class SimulatedFamily(TaskDistribution):
    """A family that some engine can step."""

    max_shards: ClassVar[int] = 1
    """Parts of a batch worth stepping side by side: 1 where Python is most of a step's work."""

    @property
    def ends_early(self) -> bool:
        """Whether episodes may end before the horizon, so that parts take unequally long."""
        return False

    rendering: bool = False
    """Whether its environments are to be pictured: an engine may need to know as it makes them."""

    @abstractmethod
    def make_engine(self, environments: int, threads: int) -> Engine:
        """An engine for this many environments."""
