"""Training: one experiment, cycle after cycle, with checkpoints from which a stopped run resumes."""
