"""Train and evaluate few-shot presets for a list of seeds.

python scripts/train_few_shot.py --seeds 1 2 3 --presets glyphs/prototypical glyphs/maml
"""

from pathlib import Path

from metarl.launch import launch

if __name__ == "__main__":
    launch(
        configs=Path(__file__).resolve().parents[1] / "configs",
        pattern=["omniglot", "glyphs", "clinc150", "banking77", "sinusoids", "gaussian_process"],
        description="Train and evaluate every few-shot preset for a list of seeds.",
        name="few_shot",
    )
