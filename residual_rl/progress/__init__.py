"""What a run tells while it works: its plan, its progress, and the metrics that other programs plot."""
