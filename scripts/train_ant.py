"""Train and evaluate every preset of the ant families for a list of seeds.

python scripts/train_ant.py --seeds 1 2 3 --presets ant_dir2d/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="ant_*",
        description="Train and evaluate every preset of the ant families, several seeds.",
    )
