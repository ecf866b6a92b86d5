"""What a few-shot run is made of: data, episodes, a method, a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from metarl.config import PlaceConfig
from metarl.errors import nearest
from metarl.plugins import ConfigClasses
from metarl.validation import require, require_at_least


@dataclass(frozen=True)
class DataConfig:
    """Which examples there are, and which classes are for what."""

    name: str
    """Data set: omniglot, clinc150, banking77, glyphs (generated images), folder (class folders of
    your images), csv (your texts with labels), sinusoids or gaussian_process (curves); or
    `module:name` of a reader of your own."""
    root: str | None = None
    """Folder with a local copy; null: METARL_DATA where that is set, else it is downloaded once."""
    split: str = "default"
    """How classes are split into training, validation and test, e.g. vinyals or lake."""
    train_on_validation: bool = False
    """Train on the validation classes too, for a final number; they validate nothing then."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the data set's reader takes, e.g. {rotations: episode} or {path: my_images}."""

    def __post_init__(self) -> None:
        require(self.name != "", "name", "must name a data set")


SIZES = ("ways", "shots", "queries")
"""What of `episodes` may differ between training and evaluation."""


@dataclass(frozen=True)
class EpisodesConfig:
    """The size of an episode, at test and in training."""

    ways: int = 5
    """Classes of an episode (N)."""
    shots: int = 1
    """Support examples of each class (K); points of a curve."""
    queries: int = 15
    """Query examples of each class (Q); points of a curve."""
    per_batch: int = 32
    """Episodes of a meta-batch (B)."""
    training_ways: int | None = None
    """Classes of an episode in training; null: as at test."""
    training_shots: int | None = None
    """Support examples of each class in training; null: as at test."""
    training_queries: int | None = None
    """Query examples of each class in training; null: as at test."""

    def __post_init__(self) -> None:
        keys = ("shots", "queries", "per_batch", "training_shots", "training_queries")
        require_at_least(1, self, *keys)
        require_at_least(2, self, "ways", "training_ways")


MODELS = ("conv4", "mlp", "ngrams", "text_cnn", "text_gru", "transformer")
"""What `model.name` takes beside `module:Class`."""


@dataclass(frozen=True)
class ModelConfig:
    """The network that reads an example."""

    name: str = "conv4"
    """conv4: four convolutional blocks; mlp: a perceptron; ngrams, text_cnn, text_gru: bags of
    n-grams, a convolutional or a recurrent network over words; transformer: an encoder of the
    transformers library; or `module:Class`, an encoder of your own."""
    channels: int = 64
    """conv4: channels of each block."""
    downsampling: Literal["pool", "stride"] = "pool"
    """conv4: max pooling after each block, or convolutions of stride 2."""
    halvings: int = 4
    """conv4: blocks that halve both sides, the first ones; fewer leave larger feature maps, which
    Relation Networks compare (theirs are 2)."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """mlp: units of each layer, the last of which gives features; text models: of the layers above
    the words, the last one linear (none: []); text_gru: first those of the recurrent unit."""
    normalization: Literal["transductive", "support", "running", "none"] = "transductive"
    """BatchNorm's statistics at test: of the examples that are predicted together (transductive:
    queries see each other); of the support set; running averages of training; or no BatchNorm.
    Models of texts and curves have none."""
    embedding: int = 64
    """text models: numbers of a word's or n-gram's embedding."""
    word_lengths: Literal["equal", "idf"] = "equal"
    """text models: how long words' embeddings start: all alike, or by inverse document frequency in
    the training texts, so that ngrams start out comparing texts as TF-IDF does."""
    subwords: bool = False
    """ngrams: a word is also the sum of its parts of 3 to 5 letters, which new words share."""
    pretrained: str | None = None
    """transformer: name or folder of a model of the transformers library."""
    fine_tune: bool = False
    """transformer: learn its own weights too, not only those of the layers above it; takes a
    learning rate of about 2e-5 (Devlin et al. 2019, appendix A.3), lower than methods' defaults."""
    options: dict[str, Any] = field(default_factory=dict)
    """What an encoder of your own takes beside the data."""

    def __post_init__(self) -> None:
        own = ":" in self.name
        message = f"is an unknown model, {self.name!r}; {nearest(self.name, MODELS)}"
        require(own or self.name in MODELS, "name", message)
        require(own or not self.options, "options", "are for a model of your own, `module:Class`")
        require_at_least(1, self, "channels", "hidden_sizes", "embedding")
        require(1 <= self.halvings <= 4, "halvings", f"must be 1 to 4, got {self.halvings}")


@dataclass(frozen=True)
class FewShotEvaluationConfig:
    """Episodes of held-out classes."""

    split: Literal["validation", "test"] = "test"
    """Which classes."""
    episodes: int = 1000
    """Episodes, the same for every method."""
    steps: int = 10
    """Adaptation steps, for methods that have them."""
    seed: int = 0
    """Seed of the episodes."""
    checkpoint: Literal["last", "best"] = "last"
    """Which parameters: those of the last checkpoint, or those that had the best validation score
    after the last adaptation step, see run.evaluate_every."""

    def __post_init__(self) -> None:
        require_at_least(0, self, "steps", "seed")
        require_at_least(2, self, "episodes")


@dataclass(frozen=True)
class FewShotRunConfig(PlaceConfig):
    """How long, where and on what the training runs."""

    iterations: int = 10_000
    """Meta-iterations: updates of the method."""
    evaluate_every: int = 0
    """Iterations between evaluations on validation classes; 0: none during training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "iterations")
        require_at_least(0, self, "evaluate_every")


@dataclass(frozen=True)
class FewShotConfig:
    """A few-shot experiment; the content of a preset, and of a run folder's `config.yaml`."""

    title: ClassVar[str] = "few-shot"
    comparison: ClassVar[str] = "metarl.fewshot.compare"
    experiment: ClassVar[str] = "metarl.fewshot.experiment:FewShotExperiment"
    suite: ClassVar[str] = "metarl.fewshot.suite"
    may_change: ClassVar[tuple[str, ...]] = ("run.iterations", "run.threads", "data.root")

    data: DataConfig
    algorithm: Any
    """The settings dataclass of the method that `algorithm.name` chooses."""
    episodes: EpisodesConfig = field(default_factory=EpisodesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    evaluation: FewShotEvaluationConfig = field(default_factory=FewShotEvaluationConfig)
    run: FewShotRunConfig = field(default_factory=FewShotRunConfig)

    def __post_init__(self) -> None:
        if self.evaluation.checkpoint == "best":
            key = "evaluation.checkpoint"
            message = "best is chosen by validation; set run.evaluate_every above 0, or take last"
            require(self.run.evaluate_every > 0, key, message)
            message = (
                f"best is chosen by validation, every run.evaluate_every = "
                f"{self.run.evaluate_every} iterations, which run.iterations = "
                f"{self.run.iterations} does not reach; lower that, or take last"
            )
            require(self.run.evaluate_every <= self.run.iterations, key, message)
            message = (
                "best is chosen on the validation classes, which data.train_on_validation trains "
                "on; take last"
            )
            require(not self.data.train_on_validation, key, message)

    @classmethod
    def algorithms(cls) -> Mapping[str, type]:
        """The settings dataclass of each method, built-in and from plugins."""
        # Late: the methods stand above this module.
        from metarl.fewshot.methods import find_method, methods

        return ConfigClasses(methods, find_method)
