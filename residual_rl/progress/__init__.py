"""The output of a run during training: its plan, its progress, and metrics for other programs."""
