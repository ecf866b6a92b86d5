"""Processes that do jobs, a few at a time, each with a log; none is stopped by another's fault."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metarl.benchmark.worker import to_line
from metarl.files import cannot_write
from metarl.jobs import Job
from metarl.training.interrupts import StopRequest

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Running:
    """A job that a process is doing."""

    job: Job
    process: "subprocess.Popen[bytes]"
    log: Path
    log_start: int
    """Bytes of the log that an earlier benchmark wrote."""
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """A job that a process has ended."""

    job: Job
    seconds: float
    error: str | None
    """Why it is not done, in one line; None when it is."""


class Pool:
    """Does jobs in processes of their own.

    Args:
        size: how many at a time.
        logs: folder of the logs, `PRESET/seedN.log`; later attempts are appended.
        on_start: called with each job that starts.
        on_end: called with each one that ends.
        on_look: called several times a second with those that run.
    """

    def __init__(
        self,
        size: int,
        logs: Path,
        on_start: Callable[[Job], None],
        on_end: Callable[[Outcome], None],
        on_look: Callable[[Sequence[Running]], None],
    ) -> None:
        self._size, self._logs = size, logs
        self._on_start, self._on_end, self._on_look = on_start, on_end, on_look
        self._running: list[Running] = []

    def do(self, jobs: Iterable[Job], stop: StopRequest) -> None:
        """Do the jobs in their order, until all have ended or `stop` is set and those that run
        have written a checkpoint.

        An exception, such as the KeyboardInterrupt of a second Ctrl-C, ends them at once.
        """
        waiting = list(jobs)
        told = False
        try:
            while self._running or (waiting and not stop):
                while waiting and len(self._running) < self._size and not stop:
                    self._start(waiting.pop(0))
                if stop and not told:
                    self._terminate()
                    told = True
                self._on_look(self._running)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                self._collect()
        except BaseException:
            for each in self._running:  # nothing is lost: files appear whole or not at all
                each.process.kill()
                each.process.wait()
                _close(each.process)
            raise

    def _start(self, job: Job) -> None:
        log = self._logs / job.preset / f"{job.run.path.name}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = open(log, "ab")  # noqa: SIM115 (closed below; the process has its own)
        except OSError as error:
            raise cannot_write(log, error) from error
        with file:
            start = file.tell()
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "metarl.benchmark.worker"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Out of reach of the terminal's Ctrl-C, which we pass on: two would stop at once.
                start_new_session=True,
            )
        self._running.append(Running(job, process, log, start))
        _send(process, to_line(job.preset, job.config, job.run.path))
        self._on_start(job)

    def _terminate(self) -> None:
        for each in self._running:
            each.process.terminate()

    def _collect(self) -> None:
        for each in list(self._running):
            code = each.process.poll()
            if code is None:
                continue
            self._running.remove(each)
            _close(each.process)
            seconds = time.monotonic() - each.started
            self._on_end(Outcome(each.job, seconds, _error(code, each)))


def _send(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert process.stdin
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except BrokenPipeError:  # it is gone already; its exit code and log say why
        pass


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin
    process.stdin.close()


def _error(code: int, ended: Running) -> str | None:
    """The one line that says why a process failed: its own, if it wrote one."""
    if code == 0:
        return None
    number = -code if code < 0 else code - 128
    if number in (signal.SIGINT, signal.SIGTERM):
        return "stopped by a signal"
    if number == signal.SIGKILL:
        return f"killed by SIGKILL, which is what a lack of memory does too; see {ended.log}"
    with ended.log.open("rb") as file:
        file.seek(ended.log_start)
        lines = file.read().decode(errors="replace").split("\n")
    told = [line for line in lines if line.strip()]
    last = told[-1].strip() if told else f"exit code {code}"
    if last.startswith("error: "):
        return last.removeprefix("error: ")
    return f"{last}; see {ended.log}"
