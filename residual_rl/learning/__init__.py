"""The learner: JAX alone, nothing of worlds or simulators."""
