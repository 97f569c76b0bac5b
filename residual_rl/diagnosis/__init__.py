"""Why learning did or did not help: what is measured, and what is made of it."""
