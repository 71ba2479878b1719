"""`python -m kindred` is `kindred`."""

from kindred.api.cli import main

main(prog_name="kindred")
