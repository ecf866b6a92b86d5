"""Names of the built-in families, for `import metarl` to register with Gymnasium.

Importing the families themselves, which takes seconds, is left to the first that is made.
"""

NAMES = (
    "AntDir-v0",
    "AntDir2D-v0",
    "AntDirMAML-v0",
    "AntDynamics-v0",
    "AntGoal-v0",
    "AntGoalMAML-v0",
    "AntVel-v0",
    "AntVelMAML-v0",
    "BernoulliBandit-v0",
    "GaussianBandit-v0",
    "GridWorld-v0",
    "HalfCheetahDir-v0",
    "HalfCheetahDirMAML-v0",
    "HalfCheetahDynamics-v0",
    "HalfCheetahRandParams-v0",
    "HalfCheetahVel-v0",
    "HalfCheetahVelMAML-v0",
    "HopperRandParams-v0",
    "HopperRandParamsLegacy-v0",
    "HumanoidDir2D-v0",
    "LunarLanderRandParams-v0",
    "PointCorner-v0",
    "PointNavigation-v0",
    "SparsePointRobot-v0",
    "SparsePointRobotVariBAD-v0",
    "SwimmerVel-v0",
    "TabularMDP-v0",
    "Walker2dDir-v0",
    "Walker2dRandParams-v0",
    "Walker2dRandParamsLegacy-v0",
    "Walker2dVel-v0",
)
