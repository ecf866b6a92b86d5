"""The guides to learners and agents: their files, commands and Python run, as they say."""

import re
from pathlib import Path

import pytest

from metarl.conformance.learners import LEARNER_CHECKS
from tests.documents import ROOT, files, named_files, run_commands, run_snippet, snippets

LEARNER = (ROOT / "docs" / "add_a_learner.md").read_text(encoding="utf-8")
AGENT = (ROOT / "docs" / "evaluate_your_agent.md").read_text(encoding="utf-8")


def prepared(folder: Path, text: str) -> Path:
    """The folder, with the guide's files in it, and the presets."""
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, content in files(text, "python", "yaml").items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_a_learner_from_outside_is_trained_resumed_evaluated_and_checked(tmp_path: Path):
    text = LEARNER.replace("--run.iterations 60", "--run.iterations 2")
    outputs = run_commands(text, prepared(tmp_path, LEARNER))
    assert [command.split()[1] for command in outputs] == [
        "train",
        "train",
        "evaluate",
        "train",
        "evaluate",
    ]
    metrics = (tmp_path / "runs/first_order/metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in metrics] == ["iteration", "1", "2"]
    (code,) = snippets(LEARNER)
    lines = run_snippet(code, tmp_path).splitlines()
    assert lines == [f"ok   {check}" for check in LEARNER_CHECKS] * 4


def test_the_agent_is_evaluated_and_a_run_is_an_agent(tmp_path: Path):
    outputs = run_commands(AGENT, prepared(tmp_path, AGENT))
    assert len(outputs) == 1
    own, wrapped = snippets(AGENT)
    printed = run_snippet(own, tmp_path)
    assert "return after adaptation" in printed
    assert printed.splitlines()[-1] == "evaluation/mean_move/test.png"
    assert (tmp_path / "evaluation/mean_move/test.json").is_file()
    assert len(run_snippet(wrapped, tmp_path).strip("[]\n").split()) == 2


def test_every_check_is_named_with_what_it_finds():
    rows = re.findall(r"^\| `([^`]*)` \| [^|]*\|$", LEARNER.split("## Checks")[1], re.MULTILINE)
    assert rows == list(LEARNER_CHECKS)


@pytest.mark.parametrize("name", sorted({*named_files(LEARNER), *named_files(AGENT)}))
def test_named_files_exist(name: str):
    assert any((base / name).exists() for base in (ROOT / "docs", ROOT))
