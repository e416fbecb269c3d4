"""`python -m llava_v2xum.merge`: see `model/merge.py`."""

from .model.merge import main

if __name__ == "__main__":
    raise SystemExit(main())
