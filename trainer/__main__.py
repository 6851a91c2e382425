"""`python -m trainer` is `everstep`."""

from trainer.cli import main

main()
