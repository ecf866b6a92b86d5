"""What a data set takes under `data.options`: a dataclass, checked like the configuration."""

from collections.abc import Callable
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
        try:
            chosen = build(options_type, options, "data.options")
        except InvalidValue as error:
            raise UserError(str(error)) from error
        return read(root, split, chosen)

    return reader


def unknown_split(name: str, split: str, *known: str) -> UserError:
    """The one line for a split that a data set does not have."""
    return UserError(f"data.split: {name} has {' and '.join(known)}, not {split!r}")
