"""Train and evaluate every preset of the bandits, tabular MDPs and grid worlds, several seeds.

python scripts/train_discrete_worlds.py --seeds 1 2 3 --presets bernoulli_bandit/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern=["*_bandit", "tabular_mdp", "grid_world"],
        description="Train and evaluate every preset of the bandits, MDPs and grid worlds.",
        name="discrete_worlds",
    )
