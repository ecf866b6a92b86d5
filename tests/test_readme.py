"""The README: its commands run, with tiny budgets, and the files it names exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = "<!-- not run in tests -->"
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
# Instead of what a command or its preset says, or in addition to it.
TINY = {
    "--tasks.tasks_per_iteration": "3",
    "--tasks.episodes_per_task": "2",
    "--policy.hidden_sizes": "8",
    "--evaluation.tasks": "3",
    "--evaluation.episodes": "2",
    "--run.iterations": "1",
    "--run.evaluate_every": "0",
    "--run.threads": "1",
}


def blocks(*languages: str) -> Iterator[str]:
    """Fenced code in these languages, but for what is marked as not run."""
    for fence in FENCE.finditer(README):
        marked = README[: fence.start()].rstrip().endswith(NOT_RUN)
        if fence["language"] in languages and not marked:
            yield fence["code"]


def commands() -> list[list[str]]:
    """The words of every command; of a console session, the lines after `$`."""
    found = []
    for language in ("sh", "console"):
        for code in blocks(language):
            lines = code.replace("\\\n", " ").splitlines()
            if language == "console":
                lines = [line[1:] for line in lines if line.startswith("$")]
            found += [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


def shortened(words: list[str]) -> list[str]:
    """The same training with a tiny budget."""
    kept: list[str] = []
    skipping = False
    for word in words:
        if word.startswith("--"):
            skipping = word.partition("=")[0] in TINY
        if not skipping:
            kept.append(word)
    return kept + [word for option in TINY.items() for word in option]


def runnable(words: list[str]) -> list[str] | None:
    """What to run in place of a command; None for those that are only looked at."""
    python, help_only = [sys.executable], "--help" in words or "--list" in words
    match words:
        case ["metarl", "train", *rest]:
            trains = not help_only and "--resume" not in rest
            return [*python, "-m", "metarl", "train", *(shortened(rest) if trains else rest)]
        case ["metarl", *rest]:
            return [*python, "-m", "metarl", *rest]
        case ["python", script, *rest] if script.startswith("scripts/train_"):
            return [*python, script, *(rest if help_only else shortened(rest))]
        case ["python", script, *rest] if script.startswith("scripts/"):
            return [*python, script, "--help"]  # benchmarks take minutes
    return None


def test_there_are_commands_to_test() -> None:
    starts = {tuple(words[:2]) for words in commands()}
    assert {
        ("make", "demo"),
        ("make", "test"),
        ("metarl", "train"),
        ("metarl", "evaluate"),
    } <= starts


def test_make_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in commands():
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            for target in targets:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), words


def test_commands_run_one_after_another(tmp_path: Path) -> None:
    # In one folder and in order: later commands name the runs of earlier ones.
    for name in ("configs", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    ran = 0
    for words in commands():
        command = runnable(words)
        if command is None:
            assert words[0] in ("make", "git", "cd", "source", "pip"), f"unknown command {words}"
            continue
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, f"{shlex.join(words)}\n{result.stderr}"
        ran += 1
    assert ran


@pytest.mark.parametrize("code", list(blocks("python")))
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def named_files() -> list[str]:
    """Targets of links, and paths in code that begin with a folder of this repository."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", README)
    local = {link for link in links if not re.match(r"\w+:", link)}
    folders = "metarl|envs|configs|scripts|tests|docs"
    paths = set(re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*[\w/]", README))
    # `import metarl/...` is no file, `runs/...` is not in the repository.
    return sorted(local | paths)


@pytest.mark.parametrize("name", named_files())
def test_named_files_exist(name: str) -> None:
    assert (ROOT / name).exists()
