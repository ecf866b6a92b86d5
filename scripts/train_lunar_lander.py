"""Train and evaluate every preset of the lunar lander families for a list of seeds.

python scripts/train_lunar_lander.py --seeds 1 2 3 --presets lunar_lander_rand_params/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern="lunar_lander*",
        description="Train and evaluate every preset of the lunar lander families, several seeds.",
    )
