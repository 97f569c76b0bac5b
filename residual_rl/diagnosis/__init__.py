"""Why learning did or did not help: measurements and their interpretation."""
