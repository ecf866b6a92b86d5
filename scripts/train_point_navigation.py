"""Train and evaluate every preset of 2D navigation for a list of seeds.

python scripts/train_point_navigation.py --seeds 1 2 3
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="point_navigation",
        description="Train and evaluate every preset of 2D navigation for a list of seeds.",
    )
