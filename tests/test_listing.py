"""What `metarl list` shows of families: of one by hand, of broken ones, and its width."""

import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from metarl import listing
from metarl.tasks import Choice, TaskDistribution, Uniform, make, names, register, registry


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test registers is listed."""
    names()
    monkeypatch.setattr(registry, "_families", {})


def _families() -> dict[str, Any]:
    return {family["name"]: family for family in listing.as_json()["families"]}


def _register_some() -> None:
    @register("Throw-v0")
    class Throw(TaskDistribution):
        """Throw the ball, e.g. far
        away. A second sentence.

        Reward: the distance.
        """

        robot = "arm"
        ood_parameters = {"wind": Uniform(2.0, 3.0)}
        visible_parameters = ("wind",)
        observation_space = gymnasium.spaces.Box(
            np.array([-1.0, -np.inf], np.float32), np.array([1.0, 1.0], np.float32)
        )

        def __init__(self, arms: int = 3, horizon: int = 7):
            self.parameters = {  # pyright: ignore[reportAttributeAccessIssue]
                "wind": Uniform(-2.0, 2.0, (arms,)),
                "ball": Choice([np.array([1.0, 2.0]), np.array([3.0, 4.0])]),
            }
            self.horizon = horizon

        @property
        def action_space(self) -> gymnasium.Space:  # pyright: ignore[reportIncompatibleVariableOverride]
            raise ImportError("no Box2D here")

    @register("Another-v0")
    class Another(TaskDistribution):
        """Do nothing."""

        robot = "arm"
        parameters = {"wind": Uniform(0.0, 1.0)}
        observation_space = gymnasium.spaces.Discrete(4)
        action_space = gymnasium.spaces.MultiBinary(3)


@pytest.mark.usefixtures("own_registry")
def test_everything_about_a_family_is_in_the_json():
    _register_some()
    family = _families()["Throw-v0"]
    assert json.loads(json.dumps(family, allow_nan=False)) == family
    splits = family.pop("splits")
    assert family == {
        "name": "Throw-v0",
        "gymnasium_id": "metarl/Throw-v0",
        "robot": "arm",
        "module": __name__,
        "summary": "Throw the ball, e.g. far away.",
        "contract": "Throw the ball, e.g. far\naway. A second sentence.\n\nReward: the distance.",
        "horizon": 7,
        "parameters": {
            "wind": {
                "kind": "Uniform",
                "range": "U[-2, 2]^3",
                "low": -2.0,
                "high": 2.0,
                "shape": [3],
            },
            "ball": {
                "kind": "Choice",
                "range": str(make("Throw-v0").parameters["ball"]),
                "values": [[1.0, 2.0], [3.0, 4.0]],
                "shape": [2],
            },
        },
        "validation_parameters": {},
        "test_parameters": {},
        "ood_parameters": {
            "wind": {
                "kind": "Uniform",
                "range": "U[2, 3]",
                "low": 2.0,
                "high": 3.0,
                "shape": [],
            }
        },
        "visible_parameters": ["wind"],
        "observation_space": {
            "kind": "Box",
            "shape": [2],
            "dtype": "float32",
            "low": [-1.0, None],
            "high": 1.0,
        },
        "action_space": None,
    }
    lists = {split: make("Throw-v0").split(split) for split in ("validation", "test", "ood")}
    assert splits == {
        name: {"tasks": count, "hash": lists[name].content_hash()}
        for name, count in (("validation", 40), ("test", 100), ("ood", 40))
    }


@pytest.mark.usefixtures("own_registry")
def test_a_split_that_a_family_lacks_is_null_and_other_spaces_are_named():
    _register_some()
    family = _families()["Another-v0"]
    assert family["splits"]["ood"] is None
    assert family["splits"]["test"]["tasks"] == 100
    assert family["observation_space"] == {"kind": "Discrete", "n": 4}
    assert family["action_space"] == {"kind": "MultiBinary", "text": "MultiBinary(3)"}


@pytest.mark.usefixtures("own_registry")
def test_families_are_grouped_by_robot_and_by_default_by_module():
    _register_some()

    @register("Alone-v0")
    class Alone(TaskDistribution):
        """Be alone."""

        parameters = {"wind": Uniform(0.0, 1.0)}

    lines = listing.as_text(100).splitlines()
    heading = lines.index("arm")
    assert [line.split()[0] for line in lines[heading + 1 : lines.index("", heading)]] == [
        "Another-v0",
        "wind",
        "Throw-v0",
        "wind",
    ]
    assert _families()["Alone-v0"]["robot"] == "test listing"
    assert "test listing" in lines


@pytest.mark.usefixtures("own_registry")
def test_a_family_has_its_horizon_sentence_and_parameters():
    _register_some()
    lines = listing.as_text(100).splitlines()
    first = next(line for line in lines if "Throw-v0" in line)
    assert first.split(maxsplit=2) == ["Throw-v0", "7", "Throw the ball, e.g. far away."]
    assert "wind ~ U[-2, 2]^3, ball ~ {" in lines[lines.index(first) + 1]


@pytest.mark.usefixtures("own_registry")
def test_a_family_that_cannot_be_made_is_listed_with_the_reason():
    _register_some()

    @register("Needy-v0")
    class Needy(TaskDistribution):
        """Needs an option."""

        def __init__(self, arms: int):
            self.arms = arms

    family = _families()["Needy-v0"]
    assert "missing 1 required positional argument: 'arms'" in family["error"]
    assert "splits" not in family
    text = " ".join(listing.as_text(100).split())
    assert "Needs an option. cannot be made: Needy-v0 does not take these options" in text
    assert "Throw-v0" in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int):
    text = listing.as_text(width)
    # what is given for one parameter is not broken, however long it is
    assert max(len(line) for line in text.splitlines() if " ~ " not in line) <= width
    assert "\0" not in text
    for name in names():
        assert text.count(f"  {name} ") == 1


def test_every_installed_family_is_described():
    for name, family in _families().items():
        assert "error" not in family, name
        assert family["robot"]
        assert family["summary"].endswith("."), name
        assert family["splits"]["test"]["hash"] == make(name).split("test").content_hash()
