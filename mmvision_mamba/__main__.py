"""`python -m mmvision_mamba COMMAND …` is `mmvision-mamba COMMAND …`."""
import sys

from .commands import main

sys.exit(main())
