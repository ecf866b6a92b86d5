"""Which network reads which examples."""

import math

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.config import ModelConfig
from metarl.fewshot.data import DataSet, Examples
from metarl.fewshot.data.sinusoids import Sinusoids
from metarl.fewshot.models import make_encoder
from metarl.fewshot.models.conv4 import Conv4
from metarl.fewshot.models.perceptron import Perceptron
from metarl.fewshot.models.text import BagOfNgrams, TextCNN, TextGRU


def images(size: int = 28) -> DataSet:
    inputs = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    train = Examples(inputs, torch.tensor([1, 1]), ("a", "b"))
    return DataSet("pictures", "images", {"train": train}, "two")


def texts() -> DataSet:
    train = Examples(torch.tensor([[2, 1], [2, 0]]), torch.tensor([1, 1]), ("a", "b"))
    vocabulary = ("", "unknown", "word")
    return DataSet("words", "texts", {"train": train}, "two", vocabulary)


def test_images_curves_and_texts_are_read() -> None:
    conv4 = make_encoder(ModelConfig(channels=5, downsampling="stride"), images())
    assert isinstance(conv4, Conv4)
    assert (conv4.features, conv4.normalizes) == (5, True)
    perceptron = make_encoder(ModelConfig("mlp", normalization="none"), images())
    assert isinstance(perceptron, Perceptron)
    assert (perceptron.inputs, perceptron.normalizes) == (784, False)
    curves = make_encoder(ModelConfig("mlp", hidden_sizes=(40, 40)), Sinusoids())
    assert isinstance(curves, Perceptron)
    assert not curves.normalizes
    words = make_encoder(ModelConfig("ngrams", embedding=6), texts())
    assert isinstance(words, BagOfNgrams)
    parameters = words.initial_parameters(np.random.default_rng(0))
    assert parameters["words.weight"].shape == (3 + words.rows, 6)
    assert words.parts is None
    words = make_encoder(ModelConfig("ngrams", subwords=True), texts())
    assert isinstance(words, BagOfNgrams)
    assert words.parts is not None
    assert words.parts.shape == (3, 9)  # of <word>: 4 of three letters, 3 of four, 2 of five
    for name, kind in (("text_cnn", TextCNN), ("text_gru", TextGRU)):
        assert type(make_encoder(ModelConfig(name), texts())) is kind


def test_rare_words_start_longest() -> None:
    config = ModelConfig("ngrams", embedding=4000, hidden_sizes=(), word_lengths="idf")
    words = make_encoder(config, texts())
    assert words.features == 4000
    found = words.initial_parameters(np.random.default_rng(0))["words.weight"][:3].norm(dim=1)
    # Of two texts one has padding, one the unknown word, both the word 2: ln(3 / (1 + df)) + 1.
    weights = [math.log(3 / 2) + 1, math.log(3 / 2) + 1, 1.0]
    assert found.tolist() == pytest.approx([each / weights[0] for each in weights], rel=0.1)


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (ModelConfig("conv4"), texts(), "conv4 does not read texts; for words take ngrams"),
        (ModelConfig("text_gru"), images(), "does not read images; for pictures take conv4 or mlp"),
        (ModelConfig("conv4"), Sinusoids(), "does not read curves; for sinusoids take mlp"),
        (ModelConfig("conv4"), images(8), "8 x 8 cannot be pooled 4 times; take stride, or images"),
        (ModelConfig("mlp", hidden_sizes=()), images(), "mlp needs at least one layer"),
        (ModelConfig("text_gru", hidden_sizes=()), texts(), "text_gru needs at least one layer"),
        (ModelConfig("transformer"), texts(), "model.pretrained: name a model"),
    ],
)
def test_what_does_not_fit_is_refused(config, data, message) -> None:
    with pytest.raises(UserError, match=message):
        make_encoder(config, data)
