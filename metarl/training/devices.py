"""What a run computes on: the CPUs it may use, and the learner's torch device."""

import torch

from metarl.errors import UserError
from metarl.simulation.cpus import usable_cpus

__all__ = ["DEVICES", "resolve_device", "usable_cpus"]

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """The learner's device; `auto` is the GPU where torch sees one, else the CPU.

    Raises UserError for other names, and for `cuda` where torch sees no GPU.
    """
    if name not in DEVICES:
        raise UserError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if name == "auto":
        return torch.device("cpu")
    raise UserError(f"device cuda: {_why_no_cuda()}, or choose device auto or cpu")


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
    return "torch sees no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
