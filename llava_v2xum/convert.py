"""`python -m llava_v2xum.convert`: see `data/convert/`."""

from .data.convert.command import main

if __name__ == "__main__":
    raise SystemExit(main())
