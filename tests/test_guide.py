"""The guide to task distributions: its files, commands and Python run, and say what it says."""

import re
from pathlib import Path

import pytest

from metarl.conformance import CHECKS
from tests.documents import ROOT, blocks, files, named_files, run_commands, run_snippet, snippets

GUIDE = ROOT / "docs" / "add_a_task_distribution.md"
TEXT = GUIDE.read_text(encoding="utf-8")
EXAMPLES = re.split(r"(?m)^## ", TEXT)[1:4]
PACKAGE = ROOT / "examples" / "metarl_example_family"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the guide's files in it, and the presets."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name, content in files(TEXT, "python", "yaml").items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_there_are_three_worked_examples() -> None:
    modules = list(files(TEXT, "python"))
    assert modules == ["cheetah_pitch.py", "cheetah_load.py", "swapped_cart_pole.py"]
    for section, module in zip(EXAMPLES, modules, strict=True):
        assert list(files(section, "python")) == [module]


@pytest.mark.parametrize("section", EXAMPLES, ids=["reward", "body", "gymnasium"])
def test_commands_run_one_after_another(section: str, folder: Path) -> None:
    outputs = run_commands(section, folder)
    assert [command.split()[1] for command in outputs] == ["check", "train", "evaluate"]
    for expected in blocks(section, "text"):
        assert expected in outputs.values()


@pytest.mark.parametrize("code", snippets(TEXT))
def test_python_runs(code: str, folder: Path) -> None:
    assert run_snippet(code, folder)


def test_the_entry_points_are_those_of_the_example_package() -> None:
    (code,) = blocks(TEXT, "toml")
    assert code in (PACKAGE / "pyproject.toml").read_text()


def test_every_check_is_named_with_what_it_finds() -> None:
    rows = re.findall(r"^\| .* \| `(.*)` \|$", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(CHECKS)


@pytest.mark.parametrize("name", named_files(TEXT))
def test_named_files_exist(name: str) -> None:
    # Links start from the guide's folder, paths from the root or the example package.
    assert any((base / name).exists() for base in (GUIDE.parent, ROOT, PACKAGE))
