"""The contract: a family's name, its docstring and the names it uses for its parameters."""

import inspect
import re

from metarl.conformance.probes import CheckFailed, in_words
from metarl.tasks import Choice, Parameter, TaskDistribution

SECTIONS = (
    "Observation",
    "Action",
    "Reward",
    "Termination",
    "Horizon",
    "Task parameters",
    "Source",
)
_NEXT_SECTION = r"(?m)^(?:Observation|Action|Reward|Termination|Horizon|Start|Source)\b"


def check_contract(family: TaskDistribution) -> None:
    """Name and version, a docstring with all sections, every parameter in it with its range."""
    cls = type(family)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*-v\d+", family.name):
        raise CheckFailed(
            f'the family has no name with a version; put @register("{cls.__name__}-v0") above it'
        )
    own = inspect.cleandoc(cls.__doc__ or "")
    if not own:
        raise CheckFailed(f"{cls.__name__} has no docstring; write one with {in_words(SECTIONS)}")
    if not own.splitlines()[0].endswith("."):
        raise CheckFailed(
            f"the docstring's first line is {own.splitlines()[0]!r}; "
            "say there in one sentence, with its period, what the task is"
        )
    text = own + "\n" + _contracts_of_named_bases(cls, own)
    _check_sections(family, text)
    _check_ranges(family, own)
    if family.ood_parameters and "out of distribution" not in " ".join(text.lower().split()):
        raise CheckFailed(
            "the docstring does not say what is out of distribution; add to its task parameters "
            "`Out of distribution: ` and the ranges of ood_parameters"
        )
    _check_names(family)


def _contracts_of_named_bases(cls: type, text: str) -> str:
    """`see `HalfCheetah`` passes the rest of the contract on to the base class that it names."""
    passed_on = ""
    for base in inspect.getmro(cls)[1:]:
        if f"`{base.__name__}`" in text + passed_on:
            passed_on += "\n" + inspect.cleandoc(base.__doc__ or "")
    return passed_on


def _check_sections(family: TaskDistribution, text: str) -> None:
    missing = [section for section in SECTIONS if section.lower() not in text.lower()]
    if missing:
        raise CheckFailed(
            f"the docstring does not say {in_words(missing)}; add a line such as "
            f"`{missing[0]}: ...`, or name the base class in backticks that has it"
        )
    if not re.search(rf"Horizon {family.horizon}\b", text):
        raise CheckFailed(
            f"the docstring does not state the horizon; write `Horizon {family.horizon}`"
        )


def _check_ranges(family: TaskDistribution, own: str) -> None:
    _, found, stated = own.partition("Task parameters")
    if not found:
        raise CheckFailed(
            "the family's own docstring has no `Task parameters:`; say there what the tasks vary"
        )
    stated = re.split(_NEXT_SECTION, stated, maxsplit=1)[0]
    for name, kind in family.parameters.items():
        if f"`{name}`" not in stated:
            raise CheckFailed(
                f"the docstring's task parameters leave out {name}; "
                f"add `{name}` in backticks with its unit and range, {kind}"
            )
        for number in _numbers(kind):
            if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\.?\d)", stated):
                raise CheckFailed(
                    f"the docstring's task parameters do not state {number} of {name}; "
                    f"write its range, {kind}"
                )


def _numbers(kind: Parameter) -> list[str]:
    """The numbers that a stated range must show, without sign: prose may write +1 or −1."""
    numbers = [getattr(kind, bound, None) for bound in ("low", "high", "radius")]
    if isinstance(kind, Choice) and kind.shape == () and len(kind.values) <= 4:
        numbers += kind.values
    return [f"{abs(number):g}" for number in numbers if isinstance(number, int | float)]


def _check_names(family: TaskDistribution) -> None:
    if not family.parameters:
        raise CheckFailed("`parameters` is empty; name at least one with its range")
    for attribute in (
        "validation_parameters",
        "test_parameters",
        "ood_parameters",
        "visible_parameters",
    ):
        unknown = [name for name in getattr(family, attribute) if name not in family.parameters]
        if unknown:
            raise CheckFailed(
                f"{attribute} names {in_words(unknown)}, which `parameters` does not have; "
                f"use one of {', '.join(family.parameters)}"
            )
