"""Train and evaluate every preset of the walker families for a list of seeds.

python scripts/train_walker2d.py --seeds 1 2 3 --presets walker2d_vel/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="walker2d_*",
        description="Train and evaluate every preset of the walker families, several seeds.",
    )
