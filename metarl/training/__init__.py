"""How a run is trained: the loop, its folder, checkpoints, metrics and progress."""
