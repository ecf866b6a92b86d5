"""Checks of the options that families take."""

from typing import Any


def require_integer(name: str, value: Any, least: int) -> None:
    """Refuse an option that is no integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
