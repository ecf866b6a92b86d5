"""Encoders of texts."""

from zlib import crc32

import numpy as np
import pytest
import torch

from metarl.fewshot.models.text import (
    BUCKETS,
    PAIR_LENGTH,
    WORDS,
    BagOfNgrams,
    TextCNN,
    TextEncoder,
    TextGRU,
    parts_of_words,
)
from metarl.policies import stack

KINDS = [BagOfNgrams, TextCNN, TextGRU]
TOKENS = torch.tensor(
    [
        [[3, 4, 5, 6], [2, 1, 0, 0], [7, 0, 0, 0]],
        [[0, 0, 0, 0], [3, 4, 0, 0], [4, 3, 0, 0]],
    ]
)


def parameters_of(encoder: TextEncoder, seed: int = 0) -> dict[str, torch.Tensor]:
    return encoder.initial_parameters(np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_parameters_are_separate_networks(kind: type[TextEncoder]) -> None:
    encoder = kind(8, 5, (7, 4))
    several = [parameters_of(encoder, seed) for seed in range(2)]
    stacked = {name: torch.stack([each[name] for each in several]) for name in several[0]}
    features, statistics = encoder(stacked, TOKENS)
    assert features.shape == (2, 3, encoder.features)
    assert statistics == ()
    for episode, parameters in enumerate(several):
        alone, _ = encoder(parameters, TOKENS[episode : episode + 1])
        torch.testing.assert_close(features[episode], alone[0])


@pytest.mark.parametrize("kind", KINDS)
def test_words_may_be_shared_while_the_rest_is_stacked(kind: type[TextEncoder]) -> None:
    encoder = kind(8, 5, (7, 4))
    shared = parameters_of(encoder)
    mixed = {**stack(shared, 2), WORDS: shared[WORDS]}
    assert encoder.fixed == {WORDS}
    torch.testing.assert_close(encoder(mixed, TOKENS)[0], encoder(shared, TOKENS)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: type[TextEncoder]) -> None:
    encoder = kind(8, 5, (7, 4))
    parameters = parameters_of(encoder)
    features, _ = encoder(parameters, TOKENS)
    # Alone the text of one word is not padded at all.
    alone, _ = encoder(parameters, TOKENS[:1, 2:, :1])
    torch.testing.assert_close(alone[0, 0], features[0, 2])
    padded, _ = encoder(parameters, torch.nn.functional.pad(TOKENS, (0, 3)))
    assert torch.equal(padded, features)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_words_matters(kind: type[TextEncoder]) -> None:
    encoder = kind(8, 5, (7, 4))
    features, _ = encoder(parameters_of(encoder), TOKENS)
    assert not torch.allclose(features[1, 1], features[1, 2])


def test_a_bag_is_the_mean_of_words_and_pairs() -> None:
    encoder = BagOfNgrams(8, 5, ())
    parameters = parameters_of(encoder)
    table = parameters[WORDS]
    assert table.shape == (8 + BUCKETS, 5)
    pair = 8 + (2 * 1_000_003 + 1) % BUCKETS
    features, _ = encoder(parameters, TOKENS)
    torch.testing.assert_close(features[0, 1], (table[2] + table[1] + table[pair]) / 3)
    torch.testing.assert_close(features[1, 0], torch.zeros(5))  # no words


@pytest.mark.parametrize("kind", KINDS)
def test_words_start_as_long_as_they_are_told(kind: type[TextEncoder]) -> None:
    lengths = torch.tensor([0.5, 0.0, 1.0, 2.0])
    table = parameters_of(kind(4, 2000, (3,), lengths))[WORDS]
    assert table[:4].norm(dim=1).tolist() == pytest.approx(lengths.tolist(), rel=0.1)
    assert table[4:].norm(dim=1).tolist() == [PAIR_LENGTH] * (len(table) - 4)


def test_a_bag_of_words_as_long_as_their_weights_compares_as_weighted_counts_do() -> None:
    weights = torch.tensor([1.0, 1.0, 0.5, 2.0, 1.0])
    encoder = BagOfNgrams(5, 4000, (), weights)
    texts = torch.tensor([[[2, 3, 3], [3, 4, 0], [2, 4, 4]]])
    (features,), _ = encoder(parameters_of(encoder), texts)
    counts = torch.tensor([[0.0, 0.0, 1.0, 2.0, 0.0], [0, 0, 0, 1, 1], [0, 0, 1, 0, 2]]) * weights
    normalize = torch.nn.functional.normalize
    found, wanted = normalize(features, dim=-1), normalize(counts, dim=-1)
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T, atol=0.1, rtol=0.0)


def test_parts_of_a_word() -> None:
    parts = parts_of_words(("<padding>", "<unknown>", "cards", "card", "a"))
    assert parts.shape == (5, 12)  # of <cards>: 5 of three letters, 4 of four, 3 of five
    assert (parts[:2] == -1).all()
    cards, card = (set(row[row >= 0].tolist()) for row in parts[2:4])
    shared = {
        crc32(each) % BUCKETS for each in (b"<ca", b"car", b"ard", b"<car", b"card", b"<card")
    }
    assert cards & card == shared
    assert parts[4, :2].tolist() == [crc32(b"<a>") % BUCKETS, -1]


def test_a_word_is_its_embedding_and_those_of_its_parts() -> None:
    parts = torch.tensor([[-1, -1], [-1, -1], [4, 7], [7, -1]])
    encoder = BagOfNgrams(4, 5, (), parts=parts)
    parameters = parameters_of(encoder)
    table = parameters[WORDS]
    tokens = torch.tensor([[[2, 3, 2], [3, 0, 0]]])
    features, _ = encoder(parameters, tokens)
    torch.testing.assert_close(features[0, 1], table[3] + table[4 + 7])
    first = table[2] + (table[4 + 4] + table[4 + 7]) / 2**0.5
    rows = [4 + (a * 1_000_003 + b) % BUCKETS for a, b in ((2, 3), (3, 2))]
    total = 2 * first + table[3] + table[4 + 7] + table[rows].sum(dim=0)
    torch.testing.assert_close(features[0, 0], total / 5)
    stacked, _ = encoder(stack(parameters, 2), tokens.expand(2, -1, -1))
    torch.testing.assert_close(stacked[1], features[0])


def test_a_filter_reads_words_side_by_side() -> None:
    encoder = TextCNN(8, 1, ())
    parameters = parameters_of(encoder)
    parameters = {name: torch.zeros_like(value) for name, value in parameters.items()}
    parameters[WORDS] = torch.arange(8.0).unsqueeze(1)
    parameters["filters3.weight"][:, 0] = torch.tensor([100.0, 10.0, 1.0])
    features, _ = encoder(parameters, TOKENS)
    # 345, 456, 560, 600: the filter begins on each word, and nothing follows the last.
    assert features[0, :, 0].tolist() == [600.0, 210.0, 700.0]
    assert features[..., 1:].abs().max() == 0


def test_the_recurrent_unit_is_torchs() -> None:
    encoder = TextGRU(8, 5, (6,))
    parameters = parameters_of(encoder)
    for name in ("input.bias", "recurrent.bias"):
        parameters[name] = torch.linspace(-1.0, 1.0, 18)
    unit = torch.nn.GRU(5, 6, batch_first=True)
    own = dict(unit.named_parameters())
    with torch.no_grad():
        own["weight_ih_l0"].copy_(parameters["input.weight"].T)
        own["weight_hh_l0"].copy_(parameters["recurrent.weight"].T)
        own["bias_ih_l0"].copy_(parameters["input.bias"])
        own["bias_hh_l0"].copy_(parameters["recurrent.bias"])
    features, _ = encoder(parameters, TOKENS)
    for text, length in ((TOKENS[0, 0], 4), (TOKENS[0, 1], 2)):
        _, last = unit(parameters[WORDS][text[:length]].unsqueeze(0))
        found = features[0, 0] if length == 4 else features[0, 1]
        torch.testing.assert_close(found, last[0, 0])
