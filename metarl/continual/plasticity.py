"""How much a policy network can still learn: dormant units, stable rank, weight norm."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl.policies import MLP, Policy
from metarl.workers import chunks

DORMANT = 0.025
"""tau: the score up to which a unit is dormant (Sokar et al. 2023)."""
_ROWS = 10
"""Networks whose features are in memory at once."""


@torch.no_grad()
def plasticity(
    policy: Policy,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """`dormant_units`, `stable_rank` and `weight_norm` of k policy networks, float64 `[k]` each.

    The hidden layers read the first `policy.network.sizes[0]` numbers of an input: a multi-head
    policy's task, which comes after them, chooses an output layer only. A policy without hidden
    layers has no units and no features: NaN.

    Args:
        policy: what the parameters mean; those of a value network beside it are ignored.
        parameters: stacked `[k, ...]`.
        inputs: what the policies saw, `[k, B, >= O]`.
        weights: `[k, B]`, 0 or False where nothing took place; None: everything did.
    """
    network = policy.network
    if weights is None:
        weights = torch.ones(inputs.shape[:2], dtype=inputs.dtype, device=inputs.device)
    parts: list[tuple[Tensor, Tensor]] = []
    for rows in chunks(len(inputs), _ROWS):
        some = {name: value[rows] for name, value in parameters.items()}
        layers = hidden_features(network, some, inputs[rows, :, : network.sizes[0]])
        seen = weights[rows].to(inputs.dtype)
        parts.append((dormant_units(layers, seen), _last_stable_rank(layers, seen)))
    return {
        "dormant_units": torch.cat([dormant for dormant, _ in parts]),
        "stable_rank": torch.cat([rank for _, rank in parts]),
        "weight_norm": weight_norm(network, parameters),
    }


def hidden_features(network: MLP, parameters: Mapping[str, Tensor], inputs: Tensor) -> list[Tensor]:
    """Outputs `[k, B, H_l]` of each hidden layer, after the activation, at inputs `[k, B, O]`.

    Without hidden layers, one layer of no units.
    """
    activate = {"tanh": torch.tanh, "relu": torch.relu}[network.activation]
    layers, hidden = [], inputs
    for index in range(len(network.sizes) - 2):
        bias = parameters[f"bias{index}"].unsqueeze(1)
        hidden = activate(torch.baddbmm(bias, hidden, parameters[f"weight{index}"]))
        layers.append(hidden)
    return layers or [inputs[..., :0]]


def dormant_units(layers: Sequence[Tensor], weights: Tensor, threshold: float = DORMANT) -> Tensor:
    """Share of the units of all hidden layers that are dormant, float64 `[k]`.

    Unit i of layer l, with H_l units, is dormant if its score (Sokar et al. 2023, "The Dormant
    Neuron Phenomenon in Deep Reinforcement Learning", eq. 1 and definition 3.1)

        s_i = E_x |h_i(x)| / ((1 / H_l) sum_k E_x |h_k(x)|) <= threshold.

    All units of a layer whose output is 0 everywhere are dormant. The score was made for ReLU,
    where 0 is the flat part. With tanh it finds units that hardly leave 0, so that they pass
    nothing on, although their gradient is the largest there; saturated units, near 1 or -1 at every
    x, learn as little and count as active. Read it beside the stable rank, which does fall then.

    NaN where the features are not finite.

    Args:
        layers: outputs `[k, B, H_l]` of each hidden layer.
        weights: `[k, B]`, 1 where an input counts and 0 where not.
        threshold: tau.
    """
    total = weights.double().sum(dim=1).clamp(min=1.0)
    dormant = torch.zeros_like(total)
    for features in layers:
        sums = torch.einsum("kb,kbh->kh", weights, features.abs()).double()
        activity = sums / total.unsqueeze(1)
        least = threshold * activity.mean(dim=1, keepdim=True)
        dormant += torch.where(
            least.squeeze(1).isfinite(), (activity <= least).sum(dim=1), torch.nan
        )
    return dormant / sum(features.shape[-1] for features in layers)


def stable_rank(features: Tensor) -> Tensor:
    """||H||_F^2 / ||H||_2^2 of features `[k, B, H]`, float64 `[k]`; 0 where all features are 0,
    NaN where one is not finite.

    The sum of the squared singular values over the largest of them (Rudelson & Vershynin 2007):
    between 1, where all rows of H are multiples of one, and min(B, H). The features are *not*
    centred, so what is the same at every input counts as a direction, and saturated units pull it
    towards 1. Computed from the eigenvalues of H^T H, `[H, H]`.

    Not to be mixed up with `srank`, the number of singular values that hold 99 % of their sum
    (Kumar et al. 2021), which the loss-of-plasticity literature calls stable rank, too.
    """
    products = (features.mT @ features).double()
    finite = products.isfinite().all(dim=-1).all(dim=-1)  # a learner that diverged stops no other
    squares = torch.linalg.eigvalsh(torch.where(finite[:, None, None], products, 0.0))
    largest = squares[:, -1]
    rank = torch.where(largest > 0, squares.sum(dim=1) / largest, 0.0)
    return torch.where(finite, rank, torch.nan)


def weight_norm(network: MLP, parameters: Mapping[str, Tensor]) -> Tensor:
    """L2 norm of all weights and biases of k networks, the output layer's too, float64 `[k]`.

    The policy's standard deviation and the value network do not count.
    """
    layers = range(len(network.sizes) - 1)
    names = [f"{kind}{index}" for index in layers for kind in ("weight", "bias")]
    squares = [parameters[name].flatten(1).double().square().sum(dim=1) for name in names]
    return torch.stack(squares).sum(dim=0).sqrt()


def _last_stable_rank(layers: Sequence[Tensor], weights: Tensor) -> Tensor:
    last = layers[-1]
    if last.shape[-1] == 0:
        return torch.full((len(last),), torch.nan, dtype=torch.float64)
    return stable_rank(last * weights.unsqueeze(-1))
