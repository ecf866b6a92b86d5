"""Large tensors are made of memory that the process already has."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import torch
from metarl.fewshot.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def use():
    return float(torch.ones(16 * 2**20).sum())  # 64 MB

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

torch.set_num_threads(1)
thread = ThreadPoolExecutor(1)  # memory of the main thread is another matter
before = faults()
for _ in range(40):
    thread.submit(use).result()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_later_tensors_need_no_fresh_pages() -> None:
    found = {}
    for mode in ("keep", "leave"):
        command = [sys.executable, "-c", PROGRAM, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[mode] = int(done.stdout)
    pages = 40 * 64 * 2**20 // 65536  # of 64 KB, the largest that Linux commonly has
    assert found["leave"] > pages, "without it every tensor is fresh pages"
    # The first few find no hole that they fit, until there is one that is large enough.
    assert found["keep"] < found["leave"] / 3
