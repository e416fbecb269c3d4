"""`python -m llava_v2xum.infer`."""

from ..core.command_line import ended_by_interrupt
from ..core.extras import end_without

if __name__ == "__main__":
    with ended_by_interrupt("interrupted before anything was done"):  # imports take seconds, and would show a traceback
        end_without("av", "PIL", "torch", "transformers")
        from .run import main

    raise SystemExit(main())
