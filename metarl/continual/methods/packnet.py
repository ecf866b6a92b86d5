"""PackNet: every stage has weights of its own, and keeps them for good."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.ppo import Samples
from metarl.continual.methods.method import Method, Setting
from metarl.policies import MultiHeadPolicy, Parameters
from metarl.policies.value import PREFIX


class PackNet(Method):
    """Packs the tasks into one network by pruning (Mallya & Lazebnik 2018).

    A stage trains the weights of the policy that are still free; the others stay as they are and
    take part. Towards its end (`algorithm.packnet_retraining`, one iteration at least) the free
    weights of smallest magnitude are set to 0, and the ones that are kept are trained on. Each
    layer keeps one part in the number of stages that are left, so that all stages get the same
    number of weights, as in Continual World; the last stage keeps all. A task is played with the
    weights of the stages up to the last one that trained it, so nothing is forgotten.

    - Free weights start the next stage at 0, as in the authors' code and in Continual World. They
      have gradients all the same, through the weights that the first stage keeps in every layer.
    - Biases, and a standard deviation of the actions that all tasks share, are trained in the first
      stage alone, like the biases of Continual World, whose retraining leaves them out.
    - An output layer for each task belongs to that task: it is not pruned, and trained in all its
      task's stages, and in these alone.
    - The value network goes on from task to task: no policy needs it to play.
    - The optimiser's moments outlive the pruning, which Continual World resets them at.
    """

    knows_task: ClassVar[bool] = True

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        head = len(setting.policy.network.sizes) - 2
        self._heads = _head_masks(setting.policy, head)
        self.owner = {
            name: torch.zeros_like(value, dtype=torch.int64)
            for name, value in parameters.items()
            if name.startswith("weight") and name not in self._heads
        }
        """Of every weight, `[k, in, out]`: 0 if it is free, s + 1 if stage s keeps it."""
        self.fixed = _policy_parameters(parameters)
        """What a parameter that is not trained stays at, `[k, ...]`."""
        self.trained = 0
        """The owner of the weights that are trained now."""
        self.begun = 0
        """Stages that have begun."""
        self.ended = 0
        """Stages that have ended."""

    def memory(self) -> dict[str, Any]:
        names = ("owner", "fixed", "trained", "begun", "ended")
        return {name: getattr(self, name) for name in names}

    # Stages -------------------------------------------------------------------------------------

    def begin_stage(self, stage: int, parameters: Parameters) -> None:
        self.fixed = _policy_parameters(parameters)
        self.begun, self.trained = stage + 1, 0
        if self._stages_left(stage) == 1:
            self._keep(stage, parameters)

    def before_iteration(
        self, stage: int, iteration: int, parameters: Parameters
    ) -> Parameters | None:
        if self._stages_left(stage) == 1 or iteration != self._pruning_iteration():
            return None
        self._keep(stage, parameters)
        pruned = {n: torch.where(o == 0, 0.0, parameters[n]) for n, o in self.owner.items()}
        self.fixed = _policy_parameters({**parameters, **pruned})
        return {**parameters, **pruned}

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        self.ended = stage + 1

    def _stages_left(self, stage: int) -> int:
        return len(self.setting.stages) - stage

    def _pruning_iteration(self) -> int:
        """With an iteration before it and one after it, if there are as many."""
        iterations = self.setting.iterations
        trained = round((1.0 - self.setting.config.packnet_retraining) * iterations)
        return min(max(trained, 1), iterations - 1)

    def _keep(self, stage: int, parameters: Parameters) -> None:
        """Give the stage its share of the free weights: the largest of each layer."""
        self.trained = stage + 1
        for name, owner in self.owner.items():
            free = owner.flatten(1) == 0
            # As many in every row; rounded up, so that no layer of a stage's own stays empty.
            share = -(-int(free[0].sum()) // self._stages_left(stage))
            sizes = torch.where(free, parameters[name].flatten(1).abs(), -1.0)
            largest = sizes.argsort(dim=1, descending=True, stable=True)[:, :share]
            kept = owner.flatten(1).scatter(1, largest, stage + 1)
            self.owner[name] = kept.view_as(owner)

    # What is trained ----------------------------------------------------------------------------

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        masked = {
            name: torch.where(self._is_trained(name, rows), gradients[name], 0.0)
            for name in self.fixed
        }
        return {**gradients, **masked}

    @torch.no_grad()
    def after_step(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, rows: slice
    ) -> None:
        # Without a gradient, the optimiser's momentum still moves what it moved before.
        for name, fixed in self.fixed.items():
            value = parameters[name]
            value.copy_(torch.where(self._is_trained(name, rows), value, fixed[rows]))

    def _is_trained(self, name: str, rows: slice) -> Tensor:
        """Which numbers of a parameter are trained now; broadcasts to `[k, ...]`."""
        if name in self.owner:
            return self.owner[name][rows] == self.trained
        device = self.fixed[name].device
        if name in self._heads:
            return self._heads[name][self.setting.stages[self.begun - 1]].to(device)
        return torch.tensor(self.begun == 1, device=device)

    # What acts ----------------------------------------------------------------------------------

    def view(self, parameters: Parameters, task: int) -> Parameters:
        """The weights of the stages up to the last one that trained the task, others 0.

        All of them in a task that is being trained now, or has not been trained yet.
        """
        stages = self.setting.stages
        being_trained = self.begun > self.ended and stages[self.begun - 1] == task
        past = [stage for stage in range(self.ended) if stages[stage] == task]
        if being_trained or not past:
            return parameters
        seen = {
            name: torch.where((owner > 0) & (owner <= past[-1] + 1), parameters[name], 0.0)
            for name, owner in self.owner.items()
        }
        return {**parameters, **seen}


def _policy_parameters(parameters: Parameters) -> Parameters:
    """Copies of those of the policy."""
    return {
        name: value.detach().clone()
        for name, value in parameters.items()
        if not name.startswith(PREFIX)
    }


def _head_masks(policy: Any, layer: int) -> dict[str, Tensor]:
    """Which numbers of an output layer are whose, `[J, ...]` by parameter; none for a single head.

    `layer` is the number of the output layer.
    """
    if not isinstance(policy, MultiHeadPolicy):
        return {}
    heads = policy.memory_size
    own = torch.eye(heads, dtype=torch.bool)
    columns = own.repeat_interleave(policy.outputs, dim=1)  # [J, J * A]
    return {
        f"weight{layer}": columns,
        f"bias{layer}": columns,
        "log_std": own.unsqueeze(-1),
    }
