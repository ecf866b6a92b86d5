"""A-GEM: no step that would make the policy worse on samples of the earlier tasks."""

from dataclasses import fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from metarl.algorithms.ppo import ActorCritic, Samples
from metarl.continual.methods.method import Setting
from metarl.continual.methods.rehearsal import Rehearsal
from metarl.policies import Parameters
from metarl.policies.value import PREFIX


class AGEM(Rehearsal):
    """Averaged gradient episodic memory (Chaudhry et al. 2019).

    g is the gradient of the update's loss and g_ref that of PPO's clipped surrogate on samples of
    the earlier stages, with their log-probabilities and advantages of then. Where they point
    against each other, g is projected (`project`). Both are taken over the parameters of the
    policy alone: Continual World has the critic's in the same vector.
    """

    remembered: ClassVar[tuple[str, ...]] = tuple(field.name for field in fields(Samples))

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        # Values have no part in the surrogate; without their network it costs less.
        config = replace(setting.actor_critic.config, baseline="linear")
        self._actor = ActorCritic(setting.policy, config)

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        if not self.kept:
            return gradients
        leaves = {
            name: value.detach().requires_grad_()
            for name, value in parameters.items()
            if not name.startswith(PREFIX)
        }
        loss = self._actor.losses(leaves, Samples(**self.next_part(rows)))["policy"].sum()
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        reference = dict(zip(leaves, found, strict=True))
        return {**gradients, **project({name: gradients[name] for name in leaves}, reference)}


def project(gradients: Parameters, reference: Parameters) -> Parameters:
    """g - (g . g_ref) / (g_ref . g_ref) g_ref where g . g_ref < 0, else g itself.

    Equation 11 of Chaudhry et al. 2019, for each of k learners by itself; its gradient is that of
    all the named parameters `[k, ...]` together.
    """
    dot = _products(gradients, reference)
    square = _products(reference, reference)
    factor = dot / square.clamp(min=torch.finfo(square.dtype).tiny)

    def projected(gradient: Tensor, other: Tensor) -> Tensor:
        shape = (-1, *[1] * (gradient.dim() - 1))
        moved = gradient - factor.view(shape) * other
        return torch.where(dot.view(shape) < 0, moved, gradient)

    return {name: projected(value, reference[name]) for name, value in gradients.items()}


def _products(one: Parameters, other: Parameters) -> Tensor:
    """Inner products of the stacked vectors, `[k]`."""
    return torch.stack([(one[n] * other[n]).flatten(1).sum(dim=1) for n in one]).sum(dim=0)
