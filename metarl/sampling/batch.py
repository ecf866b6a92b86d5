"""`Batch`: the samples that a policy-gradient loss of K tasks needs."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from metarl.sampling.advantages import discounted_returns, gae, normalize
from metarl.sampling.baseline import LinearFeatureBaseline
from metarl.sampling.task_axis import TaskAxis
from metarl.sampling.trajectories import Trajectories


@dataclass(frozen=True)
class Batch(TaskAxis):
    """Samples of K tasks with B = N * T samples each; those that did not take place weigh 0."""

    observations: Tensor
    """`[K, B, O]`."""
    actions: Tensor
    """`[K, B, A]`."""
    advantages: Tensor
    """`[K, B]`, mean 0 and standard deviation 1 within each task."""
    weights: Tensor
    """`[K, B]`, sums to 1 within each task: a weighted sum is the mean over what took place."""
    log_probs: Tensor
    """`[K, B]`, log-probability of each action under the policy that took it; importance ratios
    are relative to it."""
    returns: Tensor
    """`[K]`, mean undiscounted return of each task."""

    @classmethod
    def from_trajectories(
        cls, trajectories: Trajectories, discount: float, gae_lambda: float
    ) -> "Batch":
        """Fit the linear baseline to each task, then estimate and normalise advantages.

        Log-probabilities are 0 until `with_log_probs` sets them.
        """
        mask = trajectories.mask
        rewards = trajectories.rewards.double()
        returns = discounted_returns(rewards, mask, discount)
        values = LinearFeatureBaseline().fit_predict(trajectories.observations, returns, mask)
        advantages = normalize(gae(rewards, values, mask, discount, gae_lambda), mask)
        # A task in which every episode failed at once has no sample: all its weights are 0.
        weights = mask.flatten(1) / mask.sum(dim=(1, 2)).clamp(min=1).unsqueeze(1)
        return cls(
            trajectories.observations.flatten(1, 2),
            trajectories.actions.flatten(1, 2),
            advantages.flatten(1).float(),
            weights.float(),
            torch.zeros_like(weights, dtype=torch.float32),
            trajectories.returns.float(),
        )

    def with_log_probs(self, log_probs: Tensor) -> "Batch":
        """The same samples with log-probabilities `[K, B]` under the policies that drew them."""
        return replace(self, log_probs=log_probs)

    def ratios(self, log_probs: Tensor) -> Tensor:
        """Importance ratios pi / pi_old `[K, B]` from log-probabilities of the actions under pi.

        1 where a sample did not take place: its ratio could overflow, and 0 * inf is NaN.
        """
        return torch.exp(torch.where(self.weights > 0, log_probs - self.log_probs, 0.0))

    def __len__(self) -> int:
        """K, the number of tasks."""
        return len(self.observations)

    def double(self) -> "Batch":
        """The same samples in float64, for exact tests."""
        return Batch(
            *(
                value.double() if value.is_floating_point() else value
                for value in (getattr(self, field.name) for field in fields(self))
            )
        )

    def every(self, stride: int) -> "Batch":
        """Every `stride`-th sample of each task, with weights that sum to 1 again."""
        samples = [field.name for field in fields(self) if field.name != "returns"]
        thinned = {name: getattr(self, name)[:, ::stride] for name in samples}
        total = thinned["weights"].sum(dim=1, keepdim=True)
        thinned["weights"] = thinned["weights"] / total.clamp(min=1e-12)
        return replace(self, **thinned)
