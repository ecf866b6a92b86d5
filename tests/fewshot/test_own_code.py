"""Code of one's own: methods, data sets and models by `module:name`, and what is refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.fewshot import methods as registry
from metarl.fewshot.config import ModelConfig
from metarl.fewshot.data import load_data
from metarl.fewshot.methods import METHODS, find_method, register_method
from metarl.fewshot.methods.metric import MetricConfig
from metarl.fewshot.methods.prototypical import Prototypical
from metarl.fewshot.models import make_encoder

METHOD = """
from dataclasses import dataclass
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.metric import MetricConfig
from metarl.fewshot.methods.prototypical import Prototypical

@dataclass(frozen=True)
class Config(MetricConfig):
    name: str = "few_shot_own"
    distance: str = "cosine"
    scale: float = 3.0

@register_method("few_shot_own", Config)
class Own(Prototypical):
    "Prototypes of one's own."
"""
CODE = """
from metarl.fewshot.data.curves import Curves, reader_of
from metarl.fewshot.models import Encoder

class Flat(Curves):
    name = "flat"
    def __init__(self, height=1.0):
        self.height, self.protocol = height, f"always {height}"
    def draw(self, generator, points):
        return generator.random(points), generator.random(points) * 0 + self.height

read = reader_of(Flat)

def read_nothing(root, split):
    return None

class Model(Encoder):
    def __init__(self, data, features=3):
        self.features = features
    def initial_parameters(self, generator):
        return {}
    def __call__(self, parameters, inputs, statistics=None):
        return inputs, ()

class NoModel:
    def __init__(self, data):
        pass
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a test registers is forgotten after it, and what it imports lies in a folder of it."""
    monkeypatch.setattr(registry, "METHODS", dict(METHODS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few_shot_method.py").write_text(METHOD)
    (tmp_path / "few_shot_code.py").write_text(CODE)


def config(**sections: Any) -> Any:
    return from_mapping(
        {"data": {"name": "glyphs"}, "algorithm": {"name": "prototypical"}, **sections}, "test"
    )


def test_a_method_in_the_folder_has_its_own_settings() -> None:
    name = "few_shot_method:few_shot_own"
    found = config(algorithm={"name": name, "scale": 2.0}).algorithm
    assert (found.name, found.distance, found.scale) == (name, "cosine", 2.0)
    assert find_method(name).summary == "Prototypes of one's own"
    with pytest.raises(UserError, match=r"algorithm.halvings is not a known key"):
        config(algorithm={"name": name, "halvings": 2})
    with pytest.raises(UserError, match="unknown few-shot method 'few_shot_won'; did you mean"):
        config(algorithm={"name": "few_shot_method:few_shot_won"})
    with pytest.raises(UserError, match="the module 'absent_module' cannot be imported"):
        config(algorithm={"name": "absent_module:any"})


def test_what_cannot_be_registered() -> None:
    @dataclass(frozen=True)
    class Config(MetricConfig):
        name: str = "mine"

    with pytest.raises(ValueError, match="a method's name looks like 'prototypical'"):
        register_method("my-own", Config)
    with pytest.raises(ValueError, match="must be a dataclass with `name: str = 'other'`"):
        register_method("other", Config)
    with pytest.raises(TypeError, match="mine must derive from"):
        register_method("mine", Config)(int)  # pyright: ignore[reportArgumentType]

    @dataclass(frozen=True)
    class Thief(MetricConfig):
        name: str = "prototypical"

    with pytest.raises(ValueError, match="prototypical is registered already, by metarl"):
        register_method("prototypical", Thief)(type("Other", (Prototypical,), {}))


def test_a_data_set_in_the_folder_takes_options() -> None:
    def load(name: str, **options: Any) -> Any:
        return load_data(config(data={"name": f"few_shot_code:{name}", "options": options}).data)

    assert load("read", height=2.5).protocol == "always 2.5"
    with pytest.raises(UserError, match=r"data.options of flat: .*'width'"):
        load("read", width=1)
    with pytest.raises(UserError, match="must return a DataSet or Curves, got None"):
        load("read_nothing")
    with pytest.raises(UserError, match=r"data.name: the module .* has no 'raed'; did you mean"):
        load("raed")


def test_a_model_in_the_folder_takes_options() -> None:
    data = load_data(config(data={"name": "few_shot_code:read"}).data)

    def make(name: str, **options: Any) -> Any:
        return make_encoder(ModelConfig(name=f"few_shot_code:{name}", options=options), data)

    assert make("Model").features == 3
    assert make("Model", features=5).features == 5
    with pytest.raises(UserError, match=r"model.options of few_shot_code:Model: .*'width'"):
        make("Model", width=1)
    with pytest.raises(UserError, match="few_shot_code:NoModel must be an Encoder"):
        make("NoModel")


def test_models_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"model.name is an unknown model, 'conv'; did you mean"):
        config(model={"name": "conv"})
    with pytest.raises(UserError, match=r"model.options are for a model of your own"):
        config(model={"name": "conv4", "options": {"width": 1}})
