"""Runs the checks on families and prints one line for each."""

import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from metarl.conformance.contract import check_contract
from metarl.conformance.interface import check_finite, check_fresh, check_spaces
from metarl.conformance.probes import CheckFailed, in_words
from metarl.conformance.reproducibility import check_determinism, check_layout, check_set_tasks
from metarl.conformance.task_effects import check_leak, check_parameters
from metarl.conformance.task_lists import check_json, check_splits
from metarl.errors import UserError
from metarl.tasks import TaskDistribution
from metarl.tasks.registry import family_class

Check = Callable[[TaskDistribution], str | None]
"""Raises CheckFailed; what it returns is a remark on a family that passes."""

CHECKS: Mapping[str, Check] = {
    "contract docstring complete": check_contract,
    "JSON round trip of tasks": check_json,
    "disjoint splits and no duplicate tasks": check_splits,
    "spaces and dtypes": check_spaces,
    "finite rewards over random rollouts": check_finite,
    "fresh arrays from reset and step": check_fresh,
    "determinism by seed": check_determinism,
    "independence of thread count and batch layout": check_layout,
    "set-tasks is idempotent": check_set_tasks,
    "every parameter changes the dynamics or the reward": check_parameters,
    "no task leak in the observation": check_leak,
}

_NOT_OWN = ("metarl", "abc", "builtins", "typing")
"""Packages whose classes are no part of a family's own code."""


@dataclass(frozen=True)
class Result:
    """What one check found; the message is a remark where `ok`, else what is wrong and to do."""

    check: str
    ok: bool
    message: str
    seconds: float

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark} {self.check}" + (f": {self.message}" if self.message else "")


def check_family(family: TaskDistribution) -> Iterator[Result]:
    """Every check of `CHECKS` in turn; an exception of the family's own code is a failure."""
    for name, check in CHECKS.items():
        start = time.perf_counter()
        try:
            message, ok = check(family) or "", True
        except Exception as error:  # whatever the family's code raises
            message, ok = _explain(error, family), False
        yield Result(name, ok, _one_line(message), time.perf_counter() - start)


def report(names: Sequence[str], skip_unavailable: bool = False) -> bool:
    """Check families by name and print the results; whether all passed.

    A family that cannot be made here (it says so by a UserError, as one does whose optional package
    is missing) fails, or is skipped with `skip_unavailable`. UserError for an unknown name.
    """
    classes = {name: family_class(name) for name in names}
    outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for name, family in classes.items():
        print(name, flush=True)
        outcomes[_report_one(family, skip_unavailable)].append(name)
    if len(classes) > 1:
        print(_summary(outcomes))
    return not outcomes["failed"]


def _report_one(cls: type[TaskDistribution], skip_unavailable: bool) -> str:
    try:
        family = cls()
    except Exception as error:  # whatever the constructor raises
        skipped = skip_unavailable and isinstance(error, UserError)
        reason = _one_line(str(error) if skipped else _explain(error, cls))
        print(f"  {'skip' if skipped else 'FAIL'} cannot be made: {reason}", flush=True)
        return "skipped" if skipped else "failed"
    passed = True
    for result in check_family(family):
        print(f"  {result}", flush=True)
        passed &= result.ok
    return "passed" if passed else "failed"


def _summary(outcomes: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, outcomes.values()))
    parts = [f"{len(outcomes['passed'])} of {total} families pass every check"]
    for outcome in ("failed", "skipped"):
        if outcomes[outcome]:
            parts.append(f"{outcome}: {in_words(outcomes[outcome])}")
    return "; ".join(parts)


def _explain(error: Exception, family: TaskDistribution | type[TaskDistribution]) -> str:
    if isinstance(error, CheckFailed | UserError):
        return str(error)
    where = _place(error, family if isinstance(family, type) else type(family))
    return f"{type(error).__name__}{where}: {error}; mend what raises it"


def _place(error: Exception, cls: type) -> str:
    """The function of the family's own module in which an exception arose."""
    own = [base for base in cls.__mro__ if base.__module__.split(".")[0] not in _NOT_OWN]
    files = {inspect.getfile(base) for base in own}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [frame for frame in frames if frame.f_code.co_filename in files]
    return f" in {inside[-1].f_code.co_qualname}" if inside else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
