"""Continual methods from outside: their names, a module in the folder, an installed plugin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metarl.continual.methods import (
    METHODS,
    Method,
    find_method,
    methods,
    register_method,
    registry,
)
from metarl.continual.methods.quadratic import L2
from metarl.errors import UserError
from metarl.listing import as_json, as_text
from metarl.tasks import registry as families
from tests.continual.test_experiment import config

HALVES = """
from metarl.continual.methods import register_method
from metarl.continual.methods.quadratic import L2


@register_method("{name}")
class Halves(L2):
    '''Weights that halve with every stage.

    More about it.
    '''

    def weight(self, stage):
        return 0.5 ** stage
"""


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it; families, which take long, are not listed."""
    methods()
    families.names()
    monkeypatch.setattr(families, "_families", {})
    monkeypatch.setattr(registry, "METHODS", dict(METHODS))
    monkeypatch.setattr(registry, "SUMMARIES", dict(registry.SUMMARIES))


@pytest.mark.usefixtures("own_registry")
def test_a_method_is_listed_and_found_by_its_name() -> None:
    @register_method("own")
    class Own(L2):
        """An anchor of its own.

        More about it.
        """

    assert find_method("own") is Own
    listed = {each["name"]: each for each in as_json()["continual_methods"]}
    expected = {"name": "own", "summary": "An anchor of its own", "has_strength": True}
    assert listed["own"] == expected
    assert listed["fine_tuning"]["has_strength"] is False
    lines = as_text(150).splitlines()
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[-len(methods()) :]}
    assert shown["own"] == "λ  An anchor of its own"
    assert shown["fine_tuning"].startswith("reference: ")


@pytest.mark.usefixtures("own_registry")
def test_what_cannot_be_registered() -> None:
    for name in ("Own", "0wn", "my-own", "my:own", ""):
        with pytest.raises(ValueError, match="a method's name looks like 'online_ewc'"):
            register_method(name)
    with pytest.raises(TypeError, match="own must derive from"):
        register_method("own")(dict)  # pyright: ignore[reportArgumentType]
    other = type("Other", (Method,), {"__module__": "other"})
    with pytest.raises(ValueError, match=r"l2 is registered already, by metarl.continual.methods"):
        register_method("l2")(other)
    assert register_method("l2")(L2) is L2  # the same class: a module imported again


def test_every_built_in_method_has_a_line_of_its_own() -> None:
    assert set(registry.SUMMARIES) == set(METHODS)


def test_an_unknown_method_is_answered_in_one_line() -> None:
    with pytest.raises(UserError, match=r"algorithm.methods.ew is an unknown method; .*'ewc'"):
        config({"ew": [0.1]})
    with pytest.raises(UserError, match=r"unknown method 'absent'; known: .*online_ewc"):
        config({"metarl.continual.methods:absent": [0.1]})
    with pytest.raises(UserError, match=r"module 'absent_module' cannot be imported: .*; run"):
        config({"absent_module:own": [0.1]})


def test_a_module_of_the_folder_and_a_plugin_are_trained_and_a_thief_warns(tmp_path: Path) -> None:
    (tmp_path / "halves.py").write_text(HALVES.format(name="halves"))
    installed = tmp_path / "installed"
    installed.mkdir()
    for package, name in (("a_plugin", "plugged"), ("b_thief", "ewc")):
        (installed / f"{package}.py").write_text(HALVES.format(name=name))
        info = installed / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        group = "metarl.continual_methods"
        (info / "entry_points.txt").write_text(f"[{group}]\n{package} = {package}\n")
    preset = tmp_path / "own.yaml"
    preset.write_text(
        "sequence:\n"
        "  {family: PointNavigation-v0, tasks: [{goal: [0.4, 0.4]}, {goal: [-0.4, 0.4]}],\n"
        "   horizon: 8, iterations: 1, episodes: 4}\n"
        "policy: {hidden_sizes: [8]}\n"
        "algorithm:\n"
        "  {name: continual_ppo, methods: {halves:halves: [0.1], plugged: [0.1]}, seeds: 1}\n"
        "run: {threads: 1}\n"
    )
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "metarl", "train", "own.yaml", "--output", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ewc is registered already, by metarl.continual.methods" in done.stderr
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/return/halves:halves/0.1", "train/return/plugged/0.1"} <= set(header)
