"""What a data set takes under `data.options`: a dataclass, checked like the configuration."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metarl.errors import UserError
from metarl.fewshot.data.examples import DataSet
from metarl.validation import InvalidValue, build

Options = TypeVar("Options")


def with_options(
    options_type: type[Options], read: Callable[[str | None, str, Options], DataSet]
) -> Callable[..., DataSet]:
    """What `DATA_SETS` holds for `read(root, split, options)`; UserError for wrong options."""

    def reader(root: str | None, split: str, **options: Any) -> DataSet:
        return read(root, split, made_of(options_type, options))

    return reader


def made_of(dataclass: type[Options], options: Mapping[str, object]) -> Options:
    """The dataclass that `data.options` describe; UserError for wrong ones."""
    try:
        return build(dataclass, options, "data.options")
    except InvalidValue as error:
        raise UserError(str(error)) from error


def require_arguments(
    function: Callable[..., object], given: Mapping[str, object], name: str
) -> None:
    """UserError where a function of a person's own does not take these arguments, or takes more.

    Before it is called, so that a TypeError in it stays what it is.
    """
    try:
        inspect.signature(function).bind(**given)
    except TypeError as error:
        raise UserError(f"data.options of {name}: {error}") from error


def unknown_split(name: str, split: str, *known: str) -> UserError:
    """The one line for a split that a data set does not have."""
    return UserError(f"data.split: {name} has {' and '.join(known)}, not {split!r}")
