"""Train and evaluate every preset of the half-cheetah families for a list of seeds.

python scripts/train_half_cheetah.py --seeds 1 2 3 --presets half_cheetah_dir/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="half_cheetah*",
        description="Train and evaluate every preset of the half-cheetah families, several seeds.",
    )
