"""`metarl benchmark`: do what is not done of a suite, then compare what is."""

import dataclasses
import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from metarl.benchmark.pool import Outcome, Pool
from metarl.benchmark.view import View, last_row
from metarl.errors import UserError
from metarl.files import cannot_write
from metarl.jobs import Job
from metarl.simulation.cpus import usable_cpus
from metarl.training.interrupts import StopRequest
from metarl.training.run_folder import RunFolder

Compare = Callable[[Sequence[Path], Path, str], Path]
"""Gets run folders, the folder of the report, and the split; returns the report's path."""

_AGAIN = "the same command with --resume goes on"


@dataclass(frozen=True)
class State:
    """How far a job is."""

    text: str
    done: bool = False
    error: str | None = None
    """Why it cannot be done in its folder."""


def state_of(job: Job) -> State:
    """How far a job is, by its folder alone."""
    try:
        job.check_settings()
    except UserError as error:
        return State("refused", error=str(error))
    if not job.exists:
        return State("new")
    if not job.is_trained():
        return State(f"stopped after iteration {job.iterations}")
    if not job.evaluation():
        return State("trained, to be evaluated")
    return State("done", done=True)


def describe(jobs: Sequence[Job]) -> list[str]:
    """A line for each job and one for all: how far they are."""
    states = [state_of(job) for job in jobs]
    width = max(len(str(job.run.path)) for job in jobs)
    lines = [
        f"{job.run.path!s:{width}}  {state.error or state.text}"
        for job, state in zip(jobs, states, strict=True)
    ]
    done = sum(state.done for state in states)
    return [*lines, f"{len(jobs)} runs, {done} done, {len(jobs) - done} to do"]


def run_benchmark(
    jobs: Sequence[Job], root: Path, at_a_time: int, resume: bool, compare: Compare | None = None
) -> int:
    """Train and evaluate jobs, then compare all that are done; the exit code.

    A job that fails is reported and does not stop the others.

    Args:
        jobs: as `plan` makes them.
        root: folder of their runs; gets `logs` and `comparison`.
        at_a_time: processes; each gets its share of the CPUs, unless `run.threads` says another.
        resume: go on with what is there. Otherwise the folder must be empty or missing.
        compare: what makes the report; by default what `metarl compare` does.

    Raises UserError when the folder is in use, and for what the comparison refuses.
    """
    if not resume and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(
            f"{root} is not empty; add --resume to go on with the runs in it, "
            "or choose another --output"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(root, error) from error
    with RunFolder(root).lock():
        outcomes, stop = _do([_with_threads(job, at_a_time) for job in jobs], root, at_a_time)
        if stop:
            print(f"stopped; {_AGAIN}", file=sys.stderr)
            return 128 + (stop.signal_number or signal.SIGINT)
        failed = {outcome.job.run.path for outcome in outcomes if outcome.error}
        _report(jobs, outcomes)
        done = [job for job in jobs if job.run.path not in failed]
        if done:
            split = done[0].config.evaluation.split
            paths, output = [job.run.path for job in done], root / "comparison"
            if compare:
                print(compare(paths, output, split))
            else:
                print(_compare(done[0].config.comparison, paths, output, split))
        return 1 if failed else 0


def _do(jobs: Sequence[Job], root: Path, at_a_time: int) -> tuple[list[Outcome], StopRequest]:
    """What became of the jobs that were not done already."""
    states = {job.run.path: state_of(job) for job in jobs}
    to_do = [job for job in jobs if not states[job.run.path].done]
    outcomes: list[Outcome] = []
    console = Console()
    done = len(jobs) - len(to_do)
    with View(len(jobs), done, console) as view, StopRequest(lambda: _announce(view)) as stop:

        def end(outcome: Outcome) -> None:
            # What was asked to stop has not failed.
            if outcome.error is None or not stop:
                outcomes.append(outcome)
                view.ended(outcome)

        view.say(f"{len(jobs)} runs in {root}, {done} of them done; {at_a_time} at a time")
        possible = []
        for job in to_do:
            error = states[job.run.path].error
            if error:
                end(Outcome(job, 0.0, error))
            else:
                possible.append(job)
        pool = Pool(at_a_time, root / "logs", view.started, end, view.looked)
        try:
            pool.do(possible, stop)
        except KeyboardInterrupt:  # pressed twice
            view.say("stopped at once")
    return outcomes, stop


def _announce(view: View) -> None:
    view.say("stopping after the iterations that run; Ctrl-C once more stops at once")


def _with_threads(job: Job, at_a_time: int) -> Job:
    run = job.config.run
    if run.threads is not None:
        return job
    run = dataclasses.replace(run, threads=max(1, usable_cpus() // at_a_time))
    return dataclasses.replace(job, config=dataclasses.replace(job.config, run=run))


def _report(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Failures again, together, and runs that are no match for the others."""
    failures = [outcome for outcome in outcomes if outcome.error]
    if failures:
        print(
            f"{len(failures)} of {len(jobs)} runs failed and are left out; {_AGAIN}:",
            file=sys.stderr,
        )
    for outcome in failures:
        print(f"error: {outcome.job.run.path}: {outcome.error}", file=sys.stderr)
    for job in jobs:
        budget = job.budget
        iteration, steps = last_row(job.run.metrics_file)
        if budget and steps < budget and iteration == job.config.run.iterations > 1:
            print(
                f"warning: {job.run.path} ended at its last iteration, {iteration}, with {steps:,} "
                f"of {budget:,} environment steps; give it more run.iterations",
                file=sys.stderr,
            )


def _compare(module: str, folders: Sequence[Path], output: Path, split: str) -> Path:
    # Late: matplotlib, and nobody needs it before the last run has ended.
    kind = importlib.import_module(module)
    with Console(stderr=True).status("comparing") as status:
        comparison = kind.load_comparison(folders, split=split, on_step=status.update)
        report = kind.write_comparison(comparison, output, status.update)
    Console().print(*kind.terminal_tables(comparison), sep="\n")
    return report
