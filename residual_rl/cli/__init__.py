"""The command line `residual-rl`."""
