"""One run of a benchmark as a process of its own; started by `pool`, as `python -m` this module.

It reads one line from the standard input, the job as JSON, and says how it went by its exit code:
0 when it is trained and evaluated, 2 after an `error:` line, 128 + N after signal N.
"""

import dataclasses
import json
import os
import signal
import threading
from pathlib import Path
from typing import BinaryIO

from metarl.cli import exit_with


def to_line(preset: str, config: object, folder: Path) -> bytes:
    """A job as the line that `main` reads; `config` is a `Config`."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    job = {"preset": preset, "config": dataclasses.asdict(config), "folder": str(folder)}
    return json.dumps(job).encode() + b"\n"


def main() -> int:
    """Train and evaluate the job on the standard input, as far as that is not done."""
    # Unbuffered: a thread that waits inside a buffered reader crashes the interpreter's exit.
    standard_input = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (lives on)
    line = standard_input.readline()
    watch = threading.Thread(target=_stop_at_end_of, args=(standard_input,), daemon=True)
    watch.start()
    # Late: while these are imported, the benchmark may already go away.
    from rich.console import Console

    from metarl.config import from_mapping
    from metarl.jobs import Job
    from metarl.training.run_folder import RunFolder

    received = json.loads(line)
    preset, folder = received["preset"], Path(received["folder"])
    job = Job(preset, from_mapping(received["config"], preset), RunFolder(folder))
    console = Console()
    signal_number = job.train(console)
    if signal_number:
        return 128 + signal_number
    console.print(job.table(job.evaluate()))
    return 0


def _stop_at_end_of(stream: BinaryIO) -> None:
    """Stop as by SIGTERM when the benchmark, which keeps the other end open, is gone."""
    stream.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    exit_with(main)
