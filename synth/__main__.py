"""`python -m synth` is `evenfill`."""

from synth.cli import main

main()
