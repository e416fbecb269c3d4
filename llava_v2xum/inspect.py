"""`python -m llava_v2xum.inspect`: see `train/inspection/`."""

from .train.inspect import main

if __name__ == "__main__":
    raise SystemExit(main())
