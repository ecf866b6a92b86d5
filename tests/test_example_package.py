"""The example package of a third party: installed for real, then used by its family's name."""

import shutil
import sys
from pathlib import Path

import pytest

from metarl.tasks import names
from tests.documents import ROOT, run, run_commands, run_snippet, snippets

EXAMPLE = ROOT / "examples" / "metarl_example_family"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
FAMILY = "WindyPoint-v0"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip has installed the package into, from a copy: a build may leave files."""
    folder = tmp_path_factory.mktemp("example")
    source, target = folder / "source", folder / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *offline]
    run([*pip, "--target", str(target), str(source)], folder)
    return target


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the package's presets, but not with its code."""
    shutil.copytree(EXAMPLE / "configs", tmp_path / "configs")
    return tmp_path


def test_what_is_installed(installed: Path) -> None:
    packages = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert packages == {"metarl_example_family"}
    assert FAMILY not in names()  # it is known by its installation alone


def test_the_commands_of_its_readme(installed: Path, project: Path) -> None:
    outputs = run_commands(README, project, installed)
    by_command = {command.split()[1]: output for command, output in outputs.items()}
    assert list(by_command) == ["list", "check", "train", "evaluate", "render"]
    assert f"{FAMILY} " in by_command["list"]
    results = by_command["check"].splitlines()
    assert results[0] == FAMILY
    assert all(line.startswith("  ok ") for line in results[1:])
    assert by_command["train"].splitlines()[-1] == "runs/windy-1"
    assert (project / "runs/windy-1/evaluation/test.json").is_file()
    assert (project / "windy.gif").is_file()


def test_the_python_of_its_readme(installed: Path, tmp_path: Path) -> None:
    (code,) = snippets(README)
    assert run_snippet(code, tmp_path, installed) == "[0.05 0.  ]\n"


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    pytest_quietly = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    assert "2 passed" in run([*pytest_quietly, str(tests)], tmp_path, installed)
