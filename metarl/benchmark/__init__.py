"""A matrix of runs from one file: families × learners × seeds, trained, evaluated and compared."""
