"""Encoders of the transformers library, which a stand-in plays here: it may not be installed."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.data import DataSet, Examples
from metarl.fewshot.models.transformer import Transformer
from metarl.policies import stack

TEXTS = {"train": ("ab", "c"), "validation": ("a",), "test": ("abcd", "b")}


class StandInModel(torch.nn.Module):
    """The state of a token is its embedding, whatever the others are."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.config = SimpleNamespace(hidden_size=3)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(15.0).view(5, 3))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        assert input_ids.shape == attention_mask.shape
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


class StandIn:
    """What `from_pretrained` is asked of."""

    def __init__(self, made) -> None:
        self.made = made

    def from_pretrained(self, name: str):
        if name == "pieces":
            raise ImportError("\nthis tokenizer requires the SentencePiece library\n")
        if name != "letters":
            raise OSError(f"{name} is not a local folder\nand more lines")
        return self.made()


def tokenize(texts: list[str], truncation: bool, max_length: int) -> dict[str, list[list[int]]]:
    return {"input_ids": [["abcde".index(letter) for letter in text] for text in texts]}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(
        AutoTokenizer=StandIn(lambda: tokenize), AutoModel=StandIn(StandInModel)
    )
    monkeypatch.setitem(sys.modules, "transformers", stand_in)


def letters() -> DataSet:
    splits = {
        name: Examples(
            torch.ones(len(own), 1, dtype=torch.int64), torch.tensor([len(own)]), (name,)
        )
        for name, own in TEXTS.items()
    }
    return DataSet("letters", "texts", splits, "made up", ("", "?"), TEXTS)


@pytest.mark.usefixtures("library")
def test_texts_become_the_transformers_own_tokens() -> None:
    prepared = Transformer("letters", (2,), fine_tune=False).prepare(letters())
    assert isinstance(prepared, DataSet)
    assert prepared.splits["train"].inputs.tolist() == [[1, 2], [3, 0]]
    assert prepared.splits["test"].inputs.tolist() == [[1, 2, 3, 4], [2, 0, 0, 0]]


@pytest.mark.usefixtures("library")
def test_merged_data_are_prepared_too() -> None:
    prepared = Transformer("letters", (2,), fine_tune=False).prepare(letters().merged())
    assert isinstance(prepared, DataSet)
    assert prepared.splits["train"].inputs.tolist() == [[1, 2], [3, 0], [1, 0]]


@pytest.mark.usefixtures("library")
def test_features_are_a_layer_above_the_mean_of_a_texts_states() -> None:
    encoder = Transformer("letters", (2,), fine_tune=False)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    assert set(parameters) == {"dense0.weight", "dense0.bias"}
    tokens = torch.tensor([[[1, 2], [3, 0]]])
    features, statistics = encoder(parameters, tokens)
    means = torch.tensor([[1.5, 2.5, 3.5], [6.0, 7.0, 8.0]])  # of rows 0 and 1; of row 2
    torch.testing.assert_close(features[0], means @ parameters["dense0.weight"])
    assert statistics == ()
    stacked, _ = encoder(stack(parameters, 1), tokens)
    torch.testing.assert_close(stacked, features)


@pytest.mark.usefixtures("library")
def test_fine_tuning_learns_the_transformer_but_no_inner_loop_does() -> None:
    encoder = Transformer("letters", (2,), fine_tune=True)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    own = "transformer.embedding.weight"
    assert encoder.fixed == {own}
    parameters[own].requires_grad_()
    tokens = torch.tensor([[[1, 2], [3, 0]]])
    features, _ = encoder(parameters, tokens)
    (gradient,) = torch.autograd.grad(features.sum(), parameters[own])
    # Half of each of two tokens, all of a single one; nothing reaches tokens that are not there.
    sums = parameters["dense0.weight"].sum(dim=1)
    torch.testing.assert_close(gradient, torch.tensor([0.5, 0.5, 1, 0, 0]).outer(sums))
    with pytest.raises(UserError, match="cannot differ from episode to episode"):
        encoder(stack(parameters, 1), tokens)


@pytest.mark.usefixtures("library")
def test_threads_do_not_see_each_others_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread leaves the model while another is in it."""
    encoder = Transformer("letters", (2,), fine_tune=True)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    parameters["transformer.embedding.weight"] += 1.0
    one, other = torch.tensor([[[1]]]), torch.tensor([[[2]]])
    wanted = [encoder(parameters, tokens)[0] for tokens in (one, other)]
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    plain = StandInModel.forward

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        if int(input_ids) == 0:
            first_is_in.set()
            assert second_is_in.wait(10)
        else:
            second_is_in.set()
            assert first_is_out.wait(10)
        return plain(self, input_ids, attention_mask)

    def go_first() -> Tensor:
        features, _ = encoder(parameters, one)
        first_is_out.set()
        return features

    monkeypatch.setattr(StandInModel, "forward", forward)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(go_first)
        assert first_is_in.wait(10)
        second = pool.submit(encoder, parameters, other)
        found = [first.result(), second.result()[0]]
    for ours, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.usefixtures("library")
def test_a_model_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError) as caught:
        Transformer("nobody/nothing", (2,), fine_tune=False)
    message = "model.pretrained: cannot load 'nobody/nothing': nobody/nothing is not a local folder"
    assert str(caught.value) == message


@pytest.mark.usefixtures("library")
def test_a_package_that_a_model_needs_is_named() -> None:
    with pytest.raises(UserError, match="cannot load 'pieces': this tokenizer requires the Sent"):
        Transformer("pieces", (2,), fine_tune=False)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'metarl\[text\]'"):
        Transformer("letters", (2,), fine_tune=False)
