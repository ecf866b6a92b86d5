"""Baseline: PPO from scratch on every test task, which shows what meta-learning saves."""

from dataclasses import dataclass
from typing import Literal

from metarl.algorithms.fine_tuning import FineTuning, FineTuningConfig
from metarl.algorithms.learner import Metrics
from metarl.policies import stack
from metarl.sampling import Sampler


@dataclass(frozen=True)
class PPOFromScratchConfig(FineTuningConfig):
    """Settings of PPO from scratch."""

    name: Literal["ppo_from_scratch"] = "ppo_from_scratch"
    """The learner."""


class PPOFromScratch(FineTuning):
    """Learns nothing across tasks: adaptation starts from the initial parameters."""

    def meta_update(self, sampler: Sampler) -> Metrics:
        """Measures the initial policy, once; one iteration is enough."""
        trajectories = sampler.collect(stack(self.parameters, sampler.task_count))
        mean = float(trajectories.returns.mean())
        return {
            "train/return_pre": mean,
            "train/return_post": mean,
            "train/adaptation_gain": 0.0,
            "train/failed_episodes": float(trajectories.failed.sum()),
        }
