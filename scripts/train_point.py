"""Train and evaluate every preset of the point robots for a list of seeds.

python scripts/train_point.py --seeds 1 2 3 --presets point_navigation/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern=["point_*", "sparse_point_*"],
        description="Train and evaluate every preset of the point robots for a list of seeds.",
        name="point",
    )
