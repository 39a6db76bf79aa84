"""``python -m lightning_layerscope`` is ``layerscope``."""

import sys

from lightning_layerscope.cli import main

sys.exit(main())
