"""The README: its commands run, with tiny budgets, and the files it names exist."""

import re
from pathlib import Path

import pytest

from tests.documents import ROOT, commands, named_files, run_commands, run_snippet, snippets

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_there_are_commands_to_test() -> None:
    starts = {tuple(words[:2]) for words in commands(README)}
    assert {
        ("make", "demo"),
        ("make", "test"),
        ("metarl", "train"),
        ("metarl", "evaluate"),
    } <= starts


def test_make_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in commands(README):
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            for target in targets:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), words


def test_commands_run_one_after_another(tmp_path: Path) -> None:
    for name in ("configs", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    run_commands(README, tmp_path)


@pytest.mark.parametrize("code", snippets(README))
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    run_snippet(code, tmp_path)


@pytest.mark.parametrize("name", named_files(README))
def test_named_files_exist(name: str) -> None:
    assert (ROOT / name).exists()
