"""The few-shot benchmark measures equal work, and prints what it should."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("benchmark_fewshot")


def test_loop_and_stacked_update_have_the_same_gradient(benchmark: Any) -> None:
    pair = benchmark.maml_pair("a", 2, benchmark.QUICK, 1)
    updates, loop = pair.ours.__self__, pair.other.__self__
    learner, episodes = updates.learner, updates.source.fixed
    for name, value in learner.parameters.items():  # both have made steps to be warm
        loop.parameters[name] = benchmark.as_torch_has_it(name, value).requires_grad_()
    total = learner.losses(episodes, None)["total"].mean()
    ours = torch.autograd.grad(total, list(learner.parameters.values()))
    pairs = zip(learner.parameters, ours, loop.gradients(), strict=True)
    for name, gradient, expected in pairs:
        found = benchmark.as_torch_has_it(name, gradient)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_json_holds_every_figure(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "benchmark_fewshot.py"
    command = [sys.executable, str(script), "--quick", "--json", "--repetitions", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    names = ["maml_over_task_loop", "maml_over_task_loop_15_queries", "episode_sampling_fraction"]
    assert list(figures) == [*names, "gpu", "ranges"]
    assert torch.cuda.is_available() or figures["gpu"] == "not measured"
    for name in names:
        low, high = figures["ranges"][name]
        assert 0 < low <= figures[name] <= high
