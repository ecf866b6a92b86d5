"""How much each parameter matters to what a policy, or a value network, computes.

Importances are means over samples of squared derivatives (the Fisher information) or of absolute
ones (Memory Aware Synapses), taken sample by sample. At one sample the gradient of a layer is the
outer product of its inputs h and the derivatives d with respect to its sums, so the sum of
(h_i d_j)^2 over samples is the matrix product of h^2 and d^2, and that of |h_i d_j| the product of
|h| and |d|: no gradient of a single sample is ever written down.
"""

from collections.abc import Callable, Iterable
from functools import partial, singledispatch
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.policies import MLP, CategoricalPolicy, ConditionedPolicy, GaussianPolicy, Parameters
from metarl.policies.multi_head import MultiHeadPolicy
from metarl.policies.policy import Policy
from metarl.policies.value import PREFIX, ValueFunction


@torch.no_grad()
def fisher(policy: Policy, parameters: Parameters, inputs: Tensor, weights: Tensor) -> Parameters:
    """Diagonal of the Fisher information of the actions, exact at every sample.

    E_o E_{a ~ pi} [(d log pi(a|o) / d theta)^2], the inner expectation in closed form: for a
    Gaussian sum_a (d mu_a / d theta)^2 / sigma_a^2, and 2 for the log standard deviations; for a
    categorical sum_c p_c (d log p_c / d theta)^2. 0 for a log standard deviation below its least.

    Args:
        policy: Gaussian or categorical, plain or told its task, by an input or by a head.
        parameters: of k learners, `[k, ...]`; others than the policy's are ignored.
        inputs: what the policies read, `[k, B, I]`; heads are told one-hot.
        weights: of the samples, `[k, B]`, at least 0; a learner whose every sample weighs 0 gets
            importances of 0.

    Returns the importances of the policy's parameters, `[k, ...]`. TypeError for other policies.
    """
    return _for_each(partial(_fisher, policy), parameters, inputs, weights)


@torch.no_grad()
def output_sensitivity(
    policy: Policy, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    """E_o |d ||f(o)||^2 / d theta|, f the parameters of the action distribution.

    Memory Aware Synapses (Aljundi et al. 2018, section 4.1, with the squared norm of the outputs).
    For a Gaussian f is mean and standard deviation, so that log sigma_a gets 2 sigma_a^2; for a
    categorical the probabilities, which a constant added to all logits does not change.

    Arguments and result as in `fisher`.
    """
    return _for_each(partial(_output_sensitivity, policy), parameters, inputs, weights)


@torch.no_grad()
def value_fisher(
    value: ValueFunction, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    """E_o (dV / d theta)^2, `value.*`: the Fisher information of a Gaussian around V of variance 1.

    That is the Gauss-Newton term of half the squared error. V is in the network's own units
    (`ppo.value_scale`); `inputs` are observations (and what is told) with t / T, `[k, B, I + 1]`.
    """
    return _for_each(partial(_value_fisher, value), parameters, inputs, weights)


@torch.no_grad()
def value_sensitivity(
    value: ValueFunction, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    """E_o |d V^2 / d theta|, `value.*`; arguments as in `value_fisher`."""
    return _for_each(partial(_value_sensitivity, value), parameters, inputs, weights)


Measure = Callable[[Parameters, Tensor, Tensor], Parameters]
"""(one learner's parameters, inputs `[B, I]`, weights `[B]` of sum 1) -> importances."""


def _for_each(
    measure: Measure, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    """Importances of all k learners.

    One learner at a time: its activations stay in the processor's cache, its numbers do not depend
    on who else is there, and samples that did not take place cost nothing.
    """
    found = []
    for row, weight in enumerate(weights):
        own = {name: value[row] for name, value in parameters.items()}
        present = weight > 0
        share = weight[present]
        found.append(measure(own, inputs[row][present], share / share.sum()))
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


# One learner ------------------------------------------------------------------------------------


def _fisher(policy: Policy, parameters: Parameters, inputs: Tensor, weights: Tensor) -> Parameters:
    heads = _heads(policy, inputs)
    network = _Pass(heads.network, parameters, heads.inputs)
    if isinstance(heads.plain, GaussianPolicy):
        std, free = _standard_deviations(heads.plain, parameters)
        # (d mu_a / d theta)^2 / sigma_a^2 is the square of the derivative of mu_a / sigma_a.
        seeds = torch.diag_embed(heads.told @ (1.0 / std))
        log_std = 2.0 * free * (weights @ heads.told).unsqueeze(-1)
        extra = {"log_std": log_std.view_as(parameters["log_std"])}
    else:
        probabilities = heads.chosen(network.outputs).softmax(dim=-1)
        # d log p_c / d logits = e_c - p
        scores = torch.eye(probabilities.shape[-1]).to(probabilities) - probabilities.unsqueeze(1)
        seeds = probabilities.sqrt().unsqueeze(-1) * scores
        extra = {}
    all_heads = (heads.spread(seed) for seed in seeds.unbind(dim=1))
    return network.mean_squares(all_heads, weights) | extra


def _output_sensitivity(
    policy: Policy, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    heads = _heads(policy, inputs)
    network = _Pass(heads.network, parameters, heads.inputs)
    outputs = heads.chosen(network.outputs)
    if isinstance(heads.plain, GaussianPolicy):
        std, free = _standard_deviations(heads.plain, parameters)
        seed = 2.0 * outputs
        log_std = 2.0 * std.square() * free * (weights @ heads.told).unsqueeze(-1)
        extra = {"log_std": log_std.view_as(parameters["log_std"])}
    else:
        probabilities = outputs.softmax(dim=-1)
        # d sum_c p_c^2 / d logits = 2 p (p - sum_c p_c^2)
        norm = probabilities.square().sum(dim=-1, keepdim=True)
        seed, extra = 2.0 * probabilities * (probabilities - norm), {}
    return network.mean_absolutes(heads.spread(seed), weights) | extra


def _value_fisher(
    value: ValueFunction, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    network = _Pass(value.network, parameters, inputs, PREFIX)
    return network.mean_squares([torch.ones_like(network.outputs)], weights)


def _value_sensitivity(
    value: ValueFunction, parameters: Parameters, inputs: Tensor, weights: Tensor
) -> Parameters:
    network = _Pass(value.network, parameters, inputs, PREFIX)
    return network.mean_absolutes(2.0 * network.outputs, weights)


# Policies ---------------------------------------------------------------------------------------


class _Heads(NamedTuple):
    """A policy whose network has J output layers, of which each sample uses one."""

    plain: GaussianPolicy | CategoricalPolicy
    network: MLP
    inputs: Tensor
    """What the network reads, `[B, I]`."""
    told: Tensor
    """Which head, one-hot `[B, J]`."""

    def chosen(self, outputs: Tensor) -> Tensor:
        """Of all outputs `[B, J * A]` those of the told head, `[B, A]`."""
        return (outputs.unflatten(-1, (self.told.shape[-1], -1)) * self.told.unsqueeze(-1)).sum(1)

    def spread(self, seed: Tensor) -> Tensor:
        """Derivatives in the told head's outputs `[B, A]` as those in all outputs `[B, J * A]`."""
        return (self.told.unsqueeze(-1) * seed.unsqueeze(1)).flatten(1)


@singledispatch
def _heads(policy: Policy, inputs: Tensor) -> _Heads:
    """How a policy's inputs and outputs are to be read; one registration for each kind."""
    raise TypeError(f"no importances are known for the parameters of a {type(policy).__name__}")


@_heads.register(GaussianPolicy)
@_heads.register(CategoricalPolicy)
def _(policy: GaussianPolicy | CategoricalPolicy, inputs: Tensor) -> _Heads:
    return _Heads(policy, policy.network, inputs, inputs.new_ones(len(inputs), 1))


@_heads.register
def _(policy: ConditionedPolicy, inputs: Tensor) -> _Heads:
    return _heads(policy.plain, inputs)._replace(network=policy.network)


@_heads.register
def _(policy: MultiHeadPolicy, inputs: Tensor) -> _Heads:
    observations, told = inputs.split([policy.network.sizes[0], policy.memory_size], dim=-1)
    plain = _heads(policy.plain, observations)
    return plain._replace(network=policy.network, told=told)


def _standard_deviations(policy: GaussianPolicy, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """sigma of each head, `[J, A]`, and 1 where it follows its parameter, 0 where it is clamped."""
    log_std = torch.atleast_2d(parameters["log_std"])
    free = (log_std >= policy.min_log_std).to(log_std)
    return log_std.clamp(min=policy.min_log_std).exp(), free


# Networks ---------------------------------------------------------------------------------------


class _Pass:
    """One learner's network at B inputs: a forward pass, kept for backward passes.

    Args:
        network: what the parameters mean.
        parameters: not stacked.
        inputs: `[B, in]`.
        prefix: of the parameters' names.
    """

    def __init__(self, network: MLP, parameters: Parameters, inputs: Tensor, prefix: str = ""):
        layers = range(len(network.sizes) - 1)
        self.prefix = prefix
        self.weights = [parameters[f"{prefix}weight{layer}"] for layer in layers]
        biases = [parameters[f"{prefix}bias{layer}"] for layer in layers]
        self.inputs = [inputs]
        """Of each layer."""
        self.slopes: list[Tensor] = []
        """d unit / d sum of each hidden layer."""
        for weight, bias in zip(self.weights[:-1], biases[:-1], strict=True):
            sums = torch.addmm(bias, self.inputs[-1], weight)
            units = sums.tanh() if network.activation == "tanh" else sums.relu()
            slope = 1.0 - units.square() if network.activation == "tanh" else (sums > 0).to(sums)
            self.inputs.append(units)
            self.slopes.append(slope)
        self.outputs = torch.addmm(biases[-1], self.inputs[-1], self.weights[-1])

    def mean_squares(self, seeds: Iterable[Tensor], weights: Tensor) -> Parameters:
        """sum_b weights_b sum_s (d (seed_s . outputs) / d theta)^2, with seeds `[B, out]`."""
        totals: list[Tensor] = []
        for seed in seeds:
            derivatives = self._derivatives(seed)
            totals = totals or [torch.zeros_like(each) for each in derivatives]
            for total, each in zip(totals, derivatives, strict=True):
                total.addcmul_(each, each)
        return self._outer([units.square() for units in self.inputs], totals, weights)

    def mean_absolutes(self, seed: Tensor, weights: Tensor) -> Parameters:
        """sum_b weights_b |d (seed . outputs) / d theta|, with a seed `[B, out]`."""
        derivatives = [each.abs() for each in self._derivatives(seed)]
        return self._outer([units.abs() for units in self.inputs], derivatives, weights)

    def _derivatives(self, seed: Tensor) -> list[Tensor]:
        """d (seed . outputs) / d sums of each layer, `[B, units]`: backpropagation."""
        found = [seed]
        for weight, slope in zip(self.weights[:0:-1], self.slopes[::-1], strict=True):
            found.append((found[-1] @ weight.T).mul_(slope))
        return found[::-1]

    def _outer(self, units: list[Tensor], sums: list[Tensor], weights: Tensor) -> Parameters:
        """For weights sum_b weights_b units_bi sums_bj, and for biases, whose input is 1."""
        found: Parameters = {}
        for layer, (before, after) in enumerate(zip(units, sums, strict=True)):
            weighted = weights.unsqueeze(-1) * after
            found[f"{self.prefix}weight{layer}"] = before.T @ weighted
            found[f"{self.prefix}bias{layer}"] = weighted.sum(dim=0)
        return found
