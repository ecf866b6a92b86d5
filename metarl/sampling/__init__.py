"""From policies and environments to trajectories and advantages."""

from metarl.sampling.advantages import discounted_returns, gae, normalize
from metarl.sampling.baseline import LinearFeatureBaseline
from metarl.sampling.batch import Batch
from metarl.sampling.boundary import ActionBoundary
from metarl.sampling.normalization import ObservationNormalizer
from metarl.sampling.sampler import Sampler
from metarl.sampling.trajectories import Trajectories

__all__ = [
    "ActionBoundary",
    "Batch",
    "LinearFeatureBaseline",
    "ObservationNormalizer",
    "Sampler",
    "Trajectories",
    "discounted_returns",
    "gae",
    "normalize",
]
