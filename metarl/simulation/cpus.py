"""How many CPUs this process may use."""

import os


def usable_cpus() -> int:
    """CPUs this process is allowed to run on; less than the machine's in a container or cpuset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
