"""Any encoder of the `transformers` library, which is optional: `pip install metarl[text]`."""

import copy
import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.data import Curves, DataSet, Examples
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.layers import dense, dense_parameters
from metarl.policies import Parameters

PREFIX = "transformer."
LONGEST = 128
"""Tokens of a text; what comes after is cut."""


class Transformer(Encoder):
    """The mean of a pre-trained transformer's last states over a text, and linear layers above it.

    The transformer stays as it is, or is learned across episodes (`fine_tune`); no inner loop
    adapts it, only the layers above.

    Args:
        pretrained: name or folder of a model of the transformers library.
        sizes: units of the layers above it.
        fine_tune: learn the transformer too.

    Raises UserError where the library or the model is not there.
    """

    def __init__(self, pretrained: str, sizes: tuple[int, ...], fine_tune: bool):
        try:
            import transformers  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                "model.name: transformer needs the transformers library; "
                "install it with pip install 'metarl[text]'"
            ) from error
        self._tokenizer: Any = _load(transformers.AutoTokenizer, pretrained)
        self._model: Any = _load(transformers.AutoModel, pretrained).eval().requires_grad_(False)
        self.sizes, self.fine_tune = sizes, fine_tune
        self.features = sizes[-1]
        names = [PREFIX + name for name, _ in self._model.named_parameters()]
        self.fixed = frozenset(names if fine_tune else ())
        self._of_thread = threading.local()

    def prepare(self, data: DataSet | Curves) -> DataSet | Curves:
        """The same texts in the transformer's own tokens, each number one higher: 0 is padding."""
        assert isinstance(data, DataSet)
        splits = {name: self._tokens(data, name) for name in data.splits}
        # Not `replace`: merged data have classes in two splits on purpose, which it would refuse.
        prepared = copy.copy(data)
        object.__setattr__(prepared, "splits", splits)
        return prepared

    def _tokens(self, data: DataSet, split: str) -> Examples:
        texts = list(data.texts[split])
        numbers: list[list[int]] = self._tokenizer(texts, truncation=True, max_length=LONGEST)[
            "input_ids"
        ]
        inputs = torch.zeros(len(numbers), max(map(len, numbers)), dtype=torch.int64)
        for row, text in zip(inputs, numbers, strict=True):
            row[: len(text)] = torch.tensor(text) + 1
        return dataclasses.replace(data.splits[split], inputs=inputs)

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`denseI.weight`, `denseI.bias`; with fine-tuning the transformer's own, as loaded."""
        width: int = self._model.config.hidden_size
        parameters = dense_parameters(generator, width, self.sizes)
        if self.fine_tune:
            own = self._model.named_parameters()
            parameters |= {PREFIX + name: value.detach().clone() for name, value in own}
        return parameters

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Features `[B, n, F]` of tokens `[B, n, L]`; UserError for stacked transformers."""
        tokens = inputs.flatten(0, 1)
        mask = (tokens > 0).long()
        states = self._states(parameters, (tokens - 1).clamp(min=0), mask)
        there = mask.unsqueeze(-1).to(states.dtype)
        means = (states * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return dense(parameters, means.unflatten(0, inputs.shape[:2]), len(self.sizes)), ()

    def _states(self, parameters: Mapping[str, Tensor], tokens: Tensor, mask: Tensor) -> Tensor:
        """`[B n, L, H]`."""
        if not self.fine_tune:
            model = self._model.to(tokens.device)
            with torch.no_grad():
                return model(input_ids=tokens, attention_mask=mask).last_hidden_state
        model = self._own_model().to(tokens.device)
        own = {name.removeprefix(PREFIX): parameters[name] for name in self.fixed}
        shapes = {name: value.shape for name, value in model.named_parameters()}
        if any(own[name].shape != shape for name, shape in shapes.items()):
            raise UserError(
                "a transformer cannot differ from episode to episode; set model.fine_tune to "
                "false, or take a method that does not adapt it"
            )
        inputs = {"input_ids": tokens, "attention_mask": mask}
        found: Any = torch.func.functional_call(model, own, (), inputs)
        return found.last_hidden_state

    def _own_model(self) -> Any:
        """This thread's copy of the modules, with the same tensors: `functional_call` puts other
        parameters into a module while it runs, which no other thread may see."""
        if not hasattr(self._of_thread, "model"):
            tensors = (*self._model.parameters(), *self._model.buffers())
            shared = {id(each): each for each in tensors}
            self._of_thread.model = copy.deepcopy(self._model, shared)
        return self._of_thread.model


def _load(kind: Any, pretrained: str) -> Any:
    try:
        return kind.from_pretrained(pretrained)
    except (OSError, ValueError, ImportError) as error:  # tokenisers may need more
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"model.pretrained: cannot load {pretrained!r}: {reason}") from error
