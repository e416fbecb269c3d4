"""`python -m llava_v2xum.drafting`: see `infer/drafting/`."""

from .infer.drafting.command import main

if __name__ == "__main__":
    raise SystemExit(main())
