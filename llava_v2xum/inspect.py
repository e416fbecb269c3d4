"""`python -m llava_v2xum.inspect`: see `train/inspect_command.py`."""

from .train.inspect_command import main

if __name__ == "__main__":
    raise SystemExit(main())
