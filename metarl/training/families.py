"""The task family that a configuration names."""

from typing import Any, Protocol

from metarl.errors import UserError
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import make


class FamilyConfig(Protocol):
    """A section of a configuration that names a family."""

    @property
    def family(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def horizon(self) -> int | None: ...


def make_family(config: FamilyConfig) -> SimulatedFamily:
    """The family with the configured options and horizon; UserError for an unknown one."""
    family = make(config.family, **config.options)
    if not isinstance(family, SimulatedFamily):
        raise UserError(f"{config.family} has no engine; derive it from one's family")
    family.horizon = config.horizon or family.horizon
    return family
