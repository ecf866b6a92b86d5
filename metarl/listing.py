"""What `metarl list` shows: task families, algorithms, few-shot data and methods, continual
methods."""

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from metarl.algorithms import algorithms
from metarl.continual.methods.registry import methods, summary_of
from metarl.errors import UserError
from metarl.fewshot import methods as few_shot
from metarl.fewshot.data import DATA_SETS
from metarl.gymnasium_ids import gymnasium_id
from metarl.tasks import Parameter, TaskDistribution, make, names
from metarl.tasks.distribution import SPLIT_SIZES
from metarl.tasks.registry import family_class

NAME_WIDTH = 28
_INDENTED: Any = {"initial_indent": "  ", "subsequent_indent": "  "}
_JOINED = "\0"
"""A space where no line is broken: a parameter is not spread over two lines."""


def as_json() -> dict[str, Any]:
    """Everything about families, with their default options; algorithms; few-shot data sets and
    methods; continual methods.

    Bounds that are not finite are null, and so are spaces that need a package that is not
    installed, and a split that a family lacks. A family that cannot be made with its default
    options has an `error` instead of most keys.
    """
    return {
        "families": [_everything(name) for name in names()],
        "algorithms": _algorithms(),
        "few_shot_data": sorted(DATA_SETS),
        "few_shot_methods": _few_shot_methods(),
        "continual_methods": _methods(),
    }


def as_text(width: int | None = None) -> str:
    """Families by robot: name, horizon, first sentence of the contract, parameters; algorithms;
    few-shot data sets and methods; continual methods.

    `width` in columns; None: the terminal's, or 100 where there is none.
    """
    width = max(60, width or shutil.get_terminal_size((100, 24)).columns)
    lines = ["families: time steps of an episode, contract, task parameters"]
    families = sorted(map(_outline, names()), key=lambda f: (f["robot"].lower(), f["name"]))
    for robot, group in groupby(families, key=lambda family: family["robot"]):
        lines += ["", robot]
        for family in group:
            lines += _entry(family["name"], _steps(family), _texts(family), width)
    lines += ["", "algorithms"]
    for algorithm in _algorithms():
        lines += _entry(algorithm["name"], "", [algorithm["summary"]], width)
    lines += ["", "few-shot data"]
    lines += textwrap.wrap(", ".join(sorted(DATA_SETS)), width - 4, **_INDENTED)
    lines += ["", "few-shot methods: C for classes, R for regression of curves"]
    for method in _few_shot_methods():
        kinds = "".join(kind[0].upper() for kind in method["kinds"])
        lines += _entry(method["name"], kinds, [method["summary"]], width)
    lines += ["", "continual methods: λ where there is a strength"]
    for method in _methods():
        strength = "λ" if method["has_strength"] else ""
        lines += _entry(method["name"], strength, [method["summary"]], width)
    return "\n".join(lines)


def _entry(name: str, steps: str, texts: list[str], width: int) -> list[str]:
    """`name` and `steps` beside the texts, each of which starts a line and is wrapped."""
    first = f"  {name:{NAME_WIDTH}} {steps:>4}  "
    margin = " " * (NAME_WIDTH + 9)
    wrapped = [line for text in texts for line in textwrap.wrap(text, width - len(margin))]
    lines = [(margin + line.replace(_JOINED, " ")) for line in wrapped]
    if len(first) > len(margin) or not lines:  # a long name has a line to itself
        return [first.rstrip(), *lines]
    return [first + lines[0][len(margin) :], *lines[1:]]


def _steps(family: Mapping[str, Any]) -> str:
    return str(family.get("horizon", ""))


def _texts(family: Mapping[str, Any]) -> list[str]:
    if "error" in family:
        return [family["summary"], f"cannot be made: {family['error']}"]
    parameters = [f"{name} ~ {p['range']}" for name, p in family["parameters"].items()]
    return [family["summary"], ", ".join(text.replace(" ", _JOINED) for text in parameters)]


def _algorithms() -> list[dict[str, str]]:
    return [{"name": name, "summary": a.summary} for name, a in sorted(algorithms().items())]


def _few_shot_methods() -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": each.summary, "kinds": list(each.learner.kinds)}
        for name, each in sorted(few_shot.methods().items())
    ]


def _methods() -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": summary_of(name), "has_strength": method.has_strength}
        for name, method in sorted(methods().items())
    ]


def _outline(name: str) -> dict[str, Any]:
    """What is known without sampling tasks or asking for spaces, which may take time."""
    known = family_class(name)
    contract = _dedented(known.__doc__ or "")
    outline = {
        "name": name,
        "gymnasium_id": gymnasium_id(name),
        "robot": known.robot or known.__module__.rpartition(".")[2].replace("_", " "),
        "module": known.__module__,
        "summary": _first_sentence(contract),
        "contract": contract,
    }
    try:
        family = make(name)
    except Exception as error:  # whatever a plugin's code raises
        return outline | {"error": _one_line(error)}
    return outline | {
        "horizon": family.horizon,
        "parameters": _parameters(family.parameters),
        "validation_parameters": _parameters(family.validation_parameters),
        "test_parameters": _parameters(family.test_parameters),
        "ood_parameters": _parameters(family.ood_parameters),
        "visible_parameters": list(family.visible_parameters),
    }


def _everything(name: str) -> dict[str, Any]:
    outline = _outline(name)
    if "error" in outline:
        return outline
    family = make(name)
    return outline | {
        "splits": {split: _split(family, split) for split in SPLIT_SIZES},
        "observation_space": _space_of(family, "observation_space"),
        "action_space": _space_of(family, "action_space"),
    }


def _parameters(parameters: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    return {name: _parameter(parameter) for name, parameter in parameters.items()}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """The kind, the range as text, the shape of a value, and the numbers it was made with."""
    numbers = dataclasses.asdict(parameter) if dataclasses.is_dataclass(parameter) else {}
    return {
        "kind": type(parameter).__name__,
        "range": str(parameter),
        **{name: _plain(value) for name, value in numbers.items()},
        "shape": list(parameter.shape),
    }


def _split(family: TaskDistribution, split: str) -> dict[str, Any] | None:
    try:
        tasks = family.split(split)
    except UserError:  # the family has no such split
        return None
    return {"tasks": len(tasks), "hash": tasks.content_hash()}


def _space_of(family: TaskDistribution, which: str) -> dict[str, Any] | None:
    try:
        space: Space = getattr(family, which)
    except Exception:  # an optional package is missing, or a plugin's own reason
        return None
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n)}
    if not isinstance(space, spaces.Box):
        return {"kind": type(space).__name__, "text": str(space)}
    bounds = {"low": _bound(space.low), "high": _bound(space.high)}
    return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype)} | bounds


def _bound(values: np.ndarray) -> Any:
    """One number where all are equal, else all of them; None for an infinite one."""
    numbers = [float(value) if np.isfinite(value) else None for value in values.flat]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _plain(value: Any) -> Any:
    """Numbers, texts and lists, as JSON has them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    return value if isinstance(value, int | float | str | None) else str(value)


def _first_sentence(contract: str) -> str:
    paragraph = " ".join(contract.partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z])", paragraph)[0]


def _dedented(docstring: str) -> str:
    first, _, rest = docstring.strip().partition("\n")
    return f"{first}\n{textwrap.dedent(rest)}".strip()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
