"""Methods of continual learning, by the names that `algorithm.methods` takes."""

from metarl.continual.methods.a_gem import AGEM
from metarl.continual.methods.distillation import Distillation
from metarl.continual.methods.importance_weighted import EWC, MAS, OnlineEWC
from metarl.continual.methods.method import Method, Setting
from metarl.continual.methods.packnet import PackNet
from metarl.continual.methods.quadratic import L2, L2Accumulating
from metarl.continual.methods.references import FineTuning, FromScratch, MultiTask
from metarl.continual.methods.registry import (
    METHODS,
    SUMMARIES,
    find_method,
    methods,
    register_method,
)
from metarl.continual.methods.synaptic_intelligence import SI

METHODS |= {
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
SUMMARIES |= {
    "from_scratch": "reference: every task anew, from the initial parameters",
    "multi_task": "reference: all tasks at once, in every stage",
    "fine_tuning": "reference: goes on from the last task, and nothing holds it",
    "l2": "parameters held where the last task left them, with the same weight in all stages",
    "l2_accumulating": "as l2, with a weight that grows with every task (Continual World)",
    "ewc": "held around every earlier task, weighted by its Fisher information",
    "online_ewc": "held around the last task, weighted by Fisher information that fades",
    "si": "held around the last task, weighted by what each parameter did for the loss",
    "mas": "held around the last task, weighted by how much the policy's outputs depend on them",
    "distillation": "actions held where earlier tasks were observed, by their divergence",
    "packnet": "a part of the weights for each task, by pruning; told the task",
    "a_gem": "no gradient step against one on samples of earlier tasks",
}

__all__ = ["METHODS", "Method", "Setting", "find_method", "methods", "register_method"]
