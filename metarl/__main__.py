"""`python -m metarl` is the command line."""

from metarl.cli import main

main()
