"""Networks that read examples, by the names that `model.name` takes."""

from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.config import ModelConfig
from metarl.fewshot.data import Curves, DataSet
from metarl.fewshot.data.frequencies import inverse_document_frequencies
from metarl.fewshot.models.conv4 import Conv4
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.perceptron import Perceptron
from metarl.fewshot.models.text import BagOfNgrams, TextCNN, TextGRU, parts_of_words
from metarl.fewshot.models.transformer import Transformer
from metarl.plugins import object_named


def make_encoder(config: ModelConfig, data: DataSet | Curves) -> Encoder:
    """The configured network for these examples; UserError where they do not fit.

    Only images pass through BatchNorm: curves and texts are read without it. `module:Class` is
    called with the data and `model.options`.
    """
    if ":" in config.name:
        return _own(config, data)
    kind = "curves" if isinstance(data, Curves) else data.kind
    reads = {"conv4": ("images",), "mlp": ("images", "curves")}.get(config.name, ("texts",))
    if kind not in reads:
        known = {"images": "conv4 or mlp", "curves": "mlp"}
        fitting = known.get(kind, "ngrams, text_cnn, text_gru or transformer")
        raise UserError(
            f"model.name: {config.name} does not read {kind}; for {data.name} take {fitting}"
        )
    if isinstance(data, Curves):
        return Perceptron(1, _sizes(config), batch_norm=False)
    if data.kind == "images":
        return _image_encoder(config, data)
    if config.name == "transformer":
        if config.pretrained is None:
            raise UserError(
                "model.pretrained: name a model of the transformers library, or a folder"
            )
        return Transformer(config.pretrained, _sizes(config), config.fine_tune)
    sizes = _sizes(config) if config.name == "text_gru" else config.hidden_sizes
    lengths = _idf_lengths(data) if config.word_lengths == "idf" else None
    common = (len(data.vocabulary), config.embedding, sizes, lengths)
    if config.name == "ngrams":
        return BagOfNgrams(*common, parts_of_words(data.vocabulary) if config.subwords else None)
    return (TextCNN if config.name == "text_cnn" else TextGRU)(*common)


def _idf_lengths(data: DataSet) -> Tensor:
    """Lengths of embeddings `[V]`, by the training texts: 1 for words that none of them has."""
    idf = inverse_document_frequencies(data.splits["train"].inputs, len(data.vocabulary))
    return idf / idf.max()


def _own(config: ModelConfig, data: DataSet | Curves) -> Encoder:
    try:
        encoder = object_named(config.name, "model.name")(data, **config.options)
    except TypeError as error:
        raise UserError(f"model.options of {config.name}: {error}") from error
    if not isinstance(encoder, Encoder):
        raise UserError(f"model.name: {config.name} must be an Encoder of metarl.fewshot.models")
    return encoder


def _image_encoder(config: ModelConfig, data: DataSet) -> Encoder:
    channels, height, width = data.splits["train"].inputs.shape[1:]
    batch_norm = config.normalization != "none"
    if config.name == "mlp":
        return Perceptron(channels * height * width, _sizes(config), batch_norm)
    pool = config.downsampling == "pool"
    halvings = config.halvings
    if pool and min(height, width) < 2**halvings:
        raise UserError(
            f"model.downsampling: images of {height} x {width} cannot be pooled {halvings} times; "
            f"take stride, or images of at least {2**halvings} x {2**halvings}"
        )
    return Conv4((channels, height, width), config.channels, pool, batch_norm, halvings)


def _sizes(config: ModelConfig) -> tuple[int, ...]:
    if not config.hidden_sizes:
        raise UserError(f"model.hidden_sizes: {config.name} needs at least one layer")
    return config.hidden_sizes


__all__ = ["Encoder", "Statistics", "make_encoder"]
