"""What the training loop asks of an experiment, whatever its kind."""

from collections.abc import Mapping
from typing import Any, Protocol

from metarl.algorithms import Metrics


class Trainable(Protocol):
    """An experiment that is trained one iteration after another, and can stop between any two.

    Made by `make_experiment` as `Class.from_config(config)`. Iterations count from 1; everything
    random in iteration i comes from streams named by (seed, i, ...), never from a generator that
    lives on, so that a resumed run draws what an uninterrupted one would have drawn.
    """

    config: Any
    """An `ExperimentConfig`."""
    environment_steps: int
    """Time steps taken by training so far; part of the state. 0 where nothing is simulated."""

    @property
    def place(self) -> tuple[str, str]:
        """What it is trained on and by what, e.g. family and algorithm: names of folders."""
        ...

    @property
    def iterations(self) -> int:
        """The last iteration."""
        ...

    def is_budget_spent(self) -> bool:
        """Whether training ends here although the last iteration is not reached."""
        ...

    def start(self) -> None:
        """What comes before the first iteration; changes state."""
        ...

    def iterate(self, iteration: int) -> Metrics:
        """One iteration; always metrics of the same names.

        Raises UserError or FloatingPointError when it cannot go on.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: nested dicts of tensors and numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        ...

    def describe(self) -> dict[str, Any]:
        """What pins the exact tasks or data, for `versions.json`."""
        ...

    def refuse_other_data(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """UserError where the data are no longer those of a run: `recorded` is what `describe` said
        of it, and `now` what it says; here nothing is refused, and what differs is told by a
        warning."""
