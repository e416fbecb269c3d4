"""`python -m llava_v2xum.infer`."""

from .run import main

if __name__ == "__main__":
    raise SystemExit(main())
