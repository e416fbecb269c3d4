"""The newest release of transformers that this project was tested with, and a word where a newer one is installed."""

from __future__ import annotations

import logging
import os
from importlib.metadata import version

logger = logging.getLogger(__name__)

NEWEST_TESTED = "5.24.0"  # what scripts/current.lock installs
_TOLD = "LLAVA_V2XUM_TOLD_OF"  # in the environment, which a run's other processes inherit


def tell_of_untested_release() -> None:
    """Warn in one line where transformers is newer than `NEWEST_TESTED`: once in a run, whatever its processes are.

    To be called before LLaVA is imported, which may already fail then. It imports neither.
    """
    from packaging.version import Version

    found = version("transformers")
    if Version(found) <= Version(NEWEST_TESTED) or os.environ.get(_TOLD) == found:
        return
    os.environ[_TOLD] = found
    if os.environ.get("RANK", "0") == "0":  # launchers start all processes alike
        logger.warning(
            "transformers %s is newer than %s, the newest that this release was tested with; should something fail: "
            "pip install 'transformers<=%s'", found, NEWEST_TESTED, NEWEST_TESTED,
        )  # fmt: skip
