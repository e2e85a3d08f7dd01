"""`python -m recall_lightning` is the program `recall-lightning`."""

from recall_lightning.cli.main import main

main()
