"""Documents that cannot rot: their code blocks run, with tiny budgets, and named files exist."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = "<!-- not run in tests -->"
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (?P<name>[\w/.-]+\.\w+)\n")
# Instead of what a command or its preset says, or in addition to it.
TINY_CONTINUAL = {
    "--sequence.horizon": "8",
    "--sequence.iterations": "2",
    "--sequence.episodes": "4",
    "--policy.hidden_sizes": "8",
    "--algorithm.seeds": "2",
    "--evaluation.evaluate_every": "2",
    "--evaluation.episodes": "2",
    "--evaluation.adaptation_steps": "1",
    "--run.threads": "1",
}
TINY_FEW_SHOT = {
    "--episodes.per_batch": "2",
    "--model.channels": "4",
    "--evaluation.episodes": "6",
    "--run.iterations": "2",
    "--run.evaluate_every": "0",
    "--run.threads": "1",
}
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


def blocks(text: str, *languages: str) -> Iterator[str]:
    """Fenced code in these languages, but for what is marked as not run."""
    for fence in FENCE.finditer(text):
        marked = text[: fence.start()].rstrip().endswith(NOT_RUN)
        if fence["language"] in languages and not marked:
            yield fence["code"]


def files(text: str, *languages: str) -> dict[str, str]:
    """Blocks that are files: those whose first line is a comment with the name, by that name."""
    named = ((FILE_NAME.match(code), code) for code in blocks(text, *languages))
    return {match["name"]: code for match, code in named if match}


def snippets(text: str) -> list[str]:
    """Python blocks that are no files: to be run as they are."""
    return [code for code in blocks(text, "python") if not FILE_NAME.match(code)]


def commands(text: str) -> list[list[str]]:
    """The words of every command; of a console session, the lines after `$`."""
    found = []
    for language in ("sh", "console"):
        for code in blocks(text, language):
            lines = code.replace("\\\n", " ").splitlines()
            if language == "console":
                lines = [line[1:] for line in lines if line.startswith("$")]
            found += [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


def shortened(words: list[str], tiny: Mapping[str, str]) -> list[str]:
    """The same training with a tiny budget."""
    kept: list[str] = []
    skipping = False
    for word in words:
        if word.startswith("--"):
            skipping = word.partition("=")[0] in tiny
        if not skipping:
            kept.append(word)
    return kept + [word for option in tiny.items() for word in option]


def tiny_for(preset: Path) -> Mapping[str, str]:
    """The tiny budget of a preset's kind of experiment."""
    text = preset.read_text(encoding="utf-8")
    for section, tiny in (("sequence", TINY_CONTINUAL), ("data", TINY_FEW_SHOT)):
        if re.search(rf"^{section}:", text, re.MULTILINE):
            return tiny
    return TINY


def runnable(words: list[str], folder: Path) -> list[str] | None:
    """What to run in `folder` in place of a command; None for those that are only looked at."""
    python, help_only = [sys.executable], "--help" in words or "--list" in words
    match words:
        case ["metarl", "train", *rest]:
            trains = not help_only and "--resume" not in rest
            if trains:
                rest = shortened(rest, tiny_for(folder / rest[0]))
            return [*python, "-m", "metarl", "train", *rest]
        case ["metarl", *rest]:
            return [*python, "-m", "metarl", *rest]
        case ["python", script, *rest] if script.startswith("scripts/train_"):
            return [*python, script, *(rest if help_only else shortened(rest, TINY))]
        case ["python", script, *rest] if script.startswith("scripts/"):
            return [*python, script, "--help"]  # benchmarks take minutes
    return None


def run_commands(text: str, folder: Path, installed: Path | None = None) -> dict[str, str]:
    """Run a document's commands one after another in one folder; their output, by command.

    In order, because later commands name the runs of earlier ones. `installed`: a folder of
    packages that they find.
    """
    outputs = {}
    for words in commands(text):
        command = runnable(words, folder)
        if command is None:
            assert words[0] in ("make", "git", "cd", "source", "pip"), f"unknown command {words}"
            continue
        outputs[shlex.join(words)] = run(command, folder, installed)
    assert outputs
    return outputs


def run_snippet(code: str, folder: Path, installed: Path | None = None) -> str:
    """What a Python block prints; a warning is an error."""
    return run([sys.executable, "-W", "error", "-c", code], folder, installed)


def run(command: list[str], folder: Path, installed: Path | None = None) -> str:
    """The output of a command that must succeed, in `folder`, with the packages of `installed`."""
    found = [str(installed) if installed else "", os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, found))},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def named_files(text: str) -> list[str]:
    """Targets of links, and paths in code that begin with a folder of this repository."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = {link for link in links if not re.match(r"\w+:", link)}
    folders = "metarl|envs|configs|scripts|tests|docs|examples"
    paths = re.findall(rf"(?<![\w./-])(?:{folders})/[\w./*<>-]*[\w/*>]", text)
    # Patterns and placeholders are no files, nor is Gymnasium's `metarl/HalfCheetahVel-v0`;
    # `runs/...` is not in the repository.
    exact = {path for path in paths if not re.search(r"[*<]|/(?!README)[A-Z]", path)}
    return sorted(local | exact)
