"""The learner, its replay and its exploration: independent of environments and simulators."""
