"""Methods of continual learning, by the names that `algorithm.methods` takes."""

from metarl.continual.methods.a_gem import AGEM
from metarl.continual.methods.distillation import Distillation
from metarl.continual.methods.importance_weighted import EWC, MAS, OnlineEWC
from metarl.continual.methods.method import Method, Setting
from metarl.continual.methods.packnet import PackNet
from metarl.continual.methods.quadratic import L2, L2Accumulating
from metarl.continual.methods.references import FineTuning, FromScratch, MultiTask
from metarl.continual.methods.synaptic_intelligence import SI

METHODS: dict[str, type[Method]] = {
    "from_scratch": FromScratch,
    "multi_task": MultiTask,
    "fine_tuning": FineTuning,
    "l2": L2,
    "l2_accumulating": L2Accumulating,
    "ewc": EWC,
    "online_ewc": OnlineEWC,
    "si": SI,
    "mas": MAS,
    "distillation": Distillation,
    "packnet": PackNet,
    "a_gem": AGEM,
}

__all__ = ["METHODS", "Method", "Setting"]
