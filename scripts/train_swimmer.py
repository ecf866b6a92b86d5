"""Train and evaluate every preset of the swimmer families for a list of seeds.

python scripts/train_swimmer.py --seeds 1 2 3 --presets swimmer_vel/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="swimmer_*",
        description="Train and evaluate every preset of the swimmer families, several seeds.",
    )
