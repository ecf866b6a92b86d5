"""Train and evaluate every preset of the hopper families for a list of seeds.

python scripts/train_hopper.py --seeds 1 2 3 --presets hopper_rand_params/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="hopper_*",
        description="Train and evaluate every preset of the hopper families, several seeds.",
    )
