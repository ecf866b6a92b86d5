"""Typed values from untyped ones: strict conversion to dataclasses, and checks of their fields.

Configuration dataclasses call `require` and its helpers in `__post_init__`; `build` makes such a
dataclass from a mapping and gives every mistake the full dotted key that it concerns.
"""

import dataclasses
import math
import re
import reprlib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from metarl.errors import nearest

# YAML 1.1 reads `1e-6` (no dot) as text; people mean a number.
_EXPONENT_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60

_TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


class InvalidValue(ValueError):
    """A refused configuration value. `key` is dotted; `message` follows it in a sentence."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key
        self.message = message


class UnknownKey(InvalidValue):
    """A key that no field has."""


class Text(str):
    """A value typed on the command line: read as YAML, unless the field it is for holds text."""


def require(ok: bool, key: str, message: str) -> None:
    """Raise `InvalidValue` unless `ok`; the message reads on after the key: `must be ...`."""
    if not ok:
        raise InvalidValue(key, message)


def require_at_least(minimum: float, config: object, *keys: str) -> None:
    """Each named field is `minimum` or more, elementwise for a tuple; None passes."""
    for key, value in _numbers(config, keys):
        require(value >= minimum, key, f"must be at least {minimum}, got {value}")


def require_positive(config: object, *keys: str) -> None:
    """Each named field is finite and greater than zero, elementwise for a tuple; None passes."""
    for key, value in _numbers(config, keys):
        require(0 < value < math.inf, key, f"must be greater than 0, got {value}")


def _numbers(config: object, keys: tuple[str, ...]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key in keys:
        value = getattr(config, key)
        if isinstance(value, tuple):
            found += [(f"{key}[{index}]", item) for index, item in enumerate(value)]
        elif value is not None:
            found.append((key, value))
    return found


def build(
    cls: type, mapping: object, key: str = "", replaced_types: Mapping[str, type] | None = None
) -> Any:
    """The dataclass `cls` from a mapping of its fields; nested dataclasses from nested mappings.

    Args:
        cls: the dataclass; fields annotated with bool, int, float, str, Literal, `tuple[T, ...]`,
            `dict[str, Any]` (free keys, single values), `dict[str, object]` (free keys and values),
            `dict[str, dict[...]]`, `T | None` or a dataclass.
        mapping: the values, as YAML gives them (or `Text`); fields with a default may be absent.
        key: the dotted key of the mapping itself, empty for the outermost.
        replaced_types: types to use instead of the annotations of these fields.

    Raises:
        InvalidValue: for an unknown or missing key, a wrong type, or a value that the dataclass
            refuses, with the full dotted key.
    """
    if not isinstance(mapping, Mapping):
        hint = "; leave it out to take its defaults" if mapping is None else ""
        raise InvalidValue(key, f"must be a mapping of keys to values, got {_shown(mapping)}{hint}")
    hints = get_type_hints(cls) | dict(replaced_types or {})
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in mapping:
        if name not in fields:
            hint = nearest(str(name), fields)
            raise UnknownKey(dotted(key, name), f"is not a known key; {hint}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping or dataclasses.is_dataclass(hints[name]):
            values[name] = convert(hints[name], mapping.get(name, {}), dotted(key, name))
        elif not _has_default(field):
            raise InvalidValue(dotted(key, name), "is required and not there; add it")
    try:
        return cls(**values)
    except InvalidValue as error:
        raise InvalidValue(dotted(key, error.key), error.message) from error


def dotted(prefix: str, name: object) -> str:
    """`prefix.name`, on one line whatever the name is."""
    text = str(name) if str(name).isprintable() and name != "" else repr(name)
    return f"{prefix}.{text}" if prefix else text


def convert(annotation: Any, value: object, key: str) -> Any:
    """`value` as the annotated type, strictly; `InvalidValue` names `key`.

    An integer passes for a float, a list for a tuple; a bool does not pass for a number, and nan
    and infinity pass for nothing.
    """
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return build(annotation, value, key)
    if isinstance(value, Text):
        value = _read_text(annotation, value)
    if annotation is object:  # its reader knows what it may be
        return value
    origin = get_origin(annotation)
    if origin is Literal:
        return _convert_choice(get_args(annotation), value, key)
    if origin is tuple:
        return _convert_tuple(get_args(annotation), value, key)
    if origin is dict:
        return _convert_mapping(get_args(annotation)[1], value, key)
    if origin in (Union, types.UnionType):
        return _convert_optional(annotation, value, key)
    return _convert_scalar(annotation, value, key)


def _convert_scalar(annotation: type, value: object, key: str) -> Any:
    if annotation is float:
        value = _as_float(value, key)
    # `type`, not `isinstance`: a bool is an int to Python, but not to a reader.
    if type(value) is not annotation:
        hint = "; put it in quotes" if annotation is str and value is not None else ""
        raise InvalidValue(key, f"must be {_TYPE_NAMES[annotation]}, got {_shown(value)}{hint}")
    return value


def _as_float(value: object, key: str) -> object:
    if isinstance(value, str) and _EXPONENT_NUMBER.fullmatch(value):
        value = float(value)
    if type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is int or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidValue(key, f"must be a finite number, got {_shown(value)}")
    return value


def _convert_choice(choices: tuple[Any, ...], value: object, key: str) -> Any:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    names = " or ".join(repr(choice) for choice in choices)
    raise InvalidValue(key, f"must be {names}, got {_shown(value)}")


def _convert_tuple(items: tuple[Any, ...], value: object, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidValue(key, f"must be a list, such as [a, b], got {_shown(value)}")
    return tuple(convert(items[0], item, f"{key}[{index}]") for index, item in enumerate(value))


def _convert_mapping(item_type: Any, value: object, key: str) -> dict[str, Any]:
    """Free keys: what they may be, their reader knows."""
    if not isinstance(value, Mapping):
        raise InvalidValue(key, f"must be a mapping of keys to values, got {_shown(value)}")
    if item_type is Any:
        return _convert_options(value, key)
    if item_type is object:
        return {str(name): item for name, item in value.items()}
    return {str(name): convert(item_type, item, dotted(key, name)) for name, item in value.items()}


def _convert_options(value: Mapping[Any, object], key: str) -> dict[str, Any]:
    """Single values only."""
    options: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Text):
            item = _read_text(object, item)
        if not isinstance(item, bool | int | float | str):
            message = f"must be a number, text, true or false, got {_shown(item)}"
            raise InvalidValue(dotted(key, name), message)
        options[str(name)] = item
    return options


def _convert_optional(annotation: Any, value: object, key: str) -> Any:
    if value is None:
        return None
    (wanted,) = (member for member in get_args(annotation) if member is not types.NoneType)
    try:
        return convert(wanted, value, key)
    except InvalidValue as error:
        raise InvalidValue(error.key, f"{error.message} (null is possible too)") from error


def _read_text(annotation: Any, text: Text) -> object:
    """What a word on the command line means for a field of this type."""
    members = get_args(annotation)
    optional = types.NoneType in members
    if optional and text.lower() in ("none", "null", "~"):
        return None
    wanted = next((m for m in members if m is not types.NoneType), str) if optional else annotation
    if wanted is str or get_origin(wanted) is Literal:
        return str(text)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return str(text)
    is_single_item = get_origin(wanted) is tuple and not isinstance(value, list)
    return [value] if is_single_item else value


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _shown(value: object) -> str:
    """The value, short and on one line."""
    return " ".join(_SHORT.repr(value).split())
