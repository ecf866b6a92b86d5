"""The bandit script: the optimum by hand, what plays at it, and a trained run beside it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.training.trainer import Trainer
from scripts import bandit_reference as script

TINY = {
    "tasks": {
        "family": "BernoulliBandit-v0",
        "options": {"arms": 3, "pulls": 2},
        "tasks_per_iteration": 2,
        "episodes_per_task": 1,
    },
    "policy": {"hidden_sizes": []},
    "algorithm": {"name": "rl2_ppo", "hidden_size": 4, "episodes_per_trial": 2},
    "run": {"iterations": 1, "threads": 1, "device": "cpu"},
}


def start(k: int) -> script.Arms:
    return ((0, 0),) * k


def test_optimum_is_that_by_hand():
    # Two arms, two pulls. After a success the posterior mean of that arm is 2/3; after a failure it
    # is 1/3, and the other arm's 1/2 is better: 1/2 + 1/2 * 2/3 + 1/2 * 1/2.
    assert script.value(start(2), 1) == pytest.approx(1 / 2)
    assert script.value(start(2), 2) == pytest.approx(13 / 12)
    # With one arm only, the return is its mean, whatever the number of pulls.
    assert script.value(((3, 1),), 4) == pytest.approx(4 * 4 / 6)


def test_optimum_sees_that_exploring_pays():
    # One pull left: the posterior means 3/5 and 1/2. With many, the unknown arm is worth a try.
    arms = ((0, 0), (2, 1))
    assert np.argmax(script.action_values(arms, 1)) == 1
    assert np.argmax(script.action_values(arms, 10)) == 0


def test_playing_the_bayes_optimal_strategy_earns_the_optimum_and_others_earn_less():
    random = np.random.default_rng(0)
    means = random.random((20_000, 3))
    returns = {n: script.play(c, means, 5, random).mean() for n, c in script.CHOOSERS.items()}
    optimum = script.value(start(3), 5)
    assert returns["Bayes-optimal"] == pytest.approx(optimum, abs=0.03)  # 2.6 standard errors
    assert returns["random"] == pytest.approx(2.5, abs=0.03)
    assert returns["random"] < returns["Thompson sampling"] < optimum - 0.2


def test_greedy_pulls_the_arm_of_the_highest_posterior_mean():
    counts = np.array([[[1, 1], [2, 0], [0, 0]], [[0, 3], [0, 1], [0, 0]]])
    assert script.greedy(counts, 1, np.random.default_rng(0)).tolist() == [1, 2]


def test_run_is_played_beside_the_strategies(tmp_path, capsys, monkeypatch):
    config = from_mapping(TINY, "tiny", {"run.output": str(tmp_path / "run")})
    Trainer.start(config).train()
    capsys.readouterr()
    command = ["bandit_reference.py", "--run", str(tmp_path / "run"), "--tasks", "50", "--json"]
    monkeypatch.setattr(sys, "argv", command)
    assert script.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["arms"], result["pulls"]) == (3, 4)
    assert result["bayes_optimal_exact"] == pytest.approx(script.value(start(3), 4))
    rows = result["returns"]
    assert set(rows) == {*script.CHOOSERS, str(tmp_path / "run")}
    for of in rows[str(tmp_path / "run")].values():
        assert 1.0 < of["mean"] < 3.0  # untrained: about 2 of 4 pulls pay


def test_trial_of_too_many_pulls_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bandit_reference.py", "--pulls", "100"])
    with pytest.raises(UserError, match="100 pulls have too many posteriors; at most 15"):
        script.main()


def test_run_of_another_family_is_refused_in_one_line(tmp_path: Path):
    mapping = {**TINY, "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 1}}
    config = from_mapping(mapping, "tiny", {"run.output": str(tmp_path / "run")})
    Trainer.start(config)
    with pytest.raises(UserError, match="no run of rl2_ppo on BernoulliBandit-v0"):
        script.load(str(tmp_path / "run"))
