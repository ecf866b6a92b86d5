"""What methods share that embed examples with one network and do not adapt it."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction
from metarl.fewshot.methods.chunked import ChunkedLearner, part
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.normalization import embed


class EmbeddingLearner(ChunkedLearner):
    """Embeds with `problem.encoder`, whose parameters are named `encoder.*`."""

    def embed(self, episodes: Episodes, training: bool) -> tuple[Tensor, Tensor, Statistics]:
        """Features of support `[B, n, F]` and queries `[B, m, F]`."""
        encoder, mode = self.problem.encoder, self.problem.normalization
        running = None if training else self.running
        return embed(encoder, part(self.parameters, "encoder"), episodes, mode, running)

    @abstractmethod
    def prediction(self, episodes: Episodes) -> Prediction:
        """What the method says at test; reads no query targets."""

    def predictions(self, episodes: Episodes, steps: int) -> Sequence[Prediction]:
        """One: there are no steps."""
        return [self.prediction(episodes)]
