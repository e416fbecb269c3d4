"""`python -m llava_v2xum.infer.drafting`."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
