"""What continual learning is measured against: nothing is held, nothing is kept, all at once."""

from typing import Any, ClassVar

from torch import Tensor

from metarl.continual.methods.method import Method, Setting
from metarl.policies import Parameters


class FineTuning(Method):
    """Goes on with the parameters of the last task, and nothing holds them."""


class FromScratch(Method):
    """Starts every task anew from the initial parameters: the reference of forward transfer."""

    forgets_optimizer: ClassVar[bool] = True

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        self.initial = {name: value.detach().clone() for name, value in parameters.items()}

    def begin_stage(self, stage: int, parameters: Parameters) -> Parameters:
        return self.initial

    def memory(self) -> dict[str, Any]:
        return {"initial": self.initial}


class MultiTask(Method):
    """Trains on all tasks in every stage, each update with the episodes of every task.

    In the same number of environment steps as the others: what a policy can do if nothing comes
    first or last.
    """

    trains_on_all_tasks: ClassVar[bool] = True
