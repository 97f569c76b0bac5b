"""The learner, its replay and its exploration: nothing of worlds or simulators."""
