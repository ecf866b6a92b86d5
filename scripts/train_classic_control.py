"""Train and evaluate every preset of the classic-control families for a list of seeds.

python scripts/train_classic_control.py --seeds 1 2 3 --presets cart_pole_rand_params/maml_trpo
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern=["cart_pole_*", "pendulum_*", "acrobot_*", "mountain_car_*"],
        description="Train and evaluate every preset of the classic-control families.",
        name="classic_control",
    )
