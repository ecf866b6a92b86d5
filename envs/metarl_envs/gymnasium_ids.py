"""Names of the built-in families, for `import metarl` to register with Gymnasium.

Importing the families themselves, which takes seconds, is left to the first that is made.
"""

NAMES = (
    "HalfCheetahDir-v0",
    "HalfCheetahDirMAML-v0",
    "HalfCheetahVel-v0",
    "HalfCheetahVelMAML-v0",
    "PointNavigation-v0",
)
