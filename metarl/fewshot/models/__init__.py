"""Networks that read examples, by the names that `model.name` takes."""

from metarl.errors import UserError
from metarl.fewshot.config import ModelConfig
from metarl.fewshot.data import Curves, DataSet
from metarl.fewshot.models.encoder import Encoder, Statistics


def make_encoder(config: ModelConfig, data: DataSet | Curves) -> Encoder:
    """The configured network for these examples; UserError where they do not fit."""
    raise UserError(f"model.name: no {config.name} for {data.name}")


__all__ = ["Encoder", "Statistics", "make_encoder"]
