"""`python -m llava_v2xum.train`."""

import sys

from .launch import guarded

if __name__ == "__main__":
    sys.exit(guarded(sys.argv[1:]))
