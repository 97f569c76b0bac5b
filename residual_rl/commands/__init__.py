"""The commands of the command line, each a function that Typer turns into one. `cli.py` gathers them."""
