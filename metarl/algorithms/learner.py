"""The protocol that all learners share: adapt, meta-update, state."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from metarl.sampling import Sampler, Trajectories

Metrics = dict[str, float]
"""Named numbers of one iteration, `train/...`, `loss/...`, `time/...`."""


class Learner(Protocol):
    """Learns from a sampler's tasks, and adapts to them."""

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One meta-iteration on the sampler's tasks."""
        ...

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories after 0, 1, ..., `steps` adaptation steps, `[K, N, T, ...]` each."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: nested dicts of tensors and numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        ...
