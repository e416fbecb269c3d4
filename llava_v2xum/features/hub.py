"""The Hugging Face hub: repositories by name, and one line that says what to do where one cannot be had.

Importing this module loads neither torch nor the hub's client, which reads `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and
`HF_HUB_OFFLINE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILE_NAME = re.compile(r".*\.(bin|json|pt|pth|safetensors|npz|npy)")


def is_hub_name(name: str | os.PathLike, of_an_owner: bool = False) -> bool:
    """Whether a name could be that of a repository, rather than a path that is missing.

    Args:
        of_an_owner: leave out old names such as `gpt2`, without one, and names of files.
    """
    text = str(name)
    return bool(_NAME.fullmatch(text)) and not (of_an_owner and ("/" not in text or _FILE_NAME.fullmatch(text)))


def fetch(name: str, patterns: Sequence[str], kind: str = "model") -> Path:
    """The folder of a repository's files, fetched or from the cache.

    Args:
        name: such as `hhua2/V2Xum-LLM`.
        patterns: of the files that are wanted; `*` stands for folders too.
        kind: "model" or "dataset".

    Raises:
        FileNotFoundError: saying what is in the way, and what to do about it.
    """
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, repo_type=kind, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises a dozen types, of its own and of its HTTP library
        command = f"hf download {name}{' --repo-type dataset' if kind == 'dataset' else ''} --local-dir DIR"
        raise FileNotFoundError(_what_to_do(error, name, kind, f"{command}, and give DIR")) from error


def push(folder: Path, name: str, private: bool, message: str) -> str:
    """Put a folder's files into a repository, which is made if it is not there; returns its address.

    Raises:
        OSError: saying what is in the way, and what to do about it.
    """
    try:
        from huggingface_hub import HfApi

        api = HfApi()
        made = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=name, commit_message=message)
    except Exception as error:  # as in `fetch`
        what = _what_to_do(error, name, "model", f"hf upload {name} {folder}")
        raise OSError(f"{name}: {folder} is whole, and was not uploaded: {what}") from error
    return str(made)


def _what_to_do(error: BaseException, name: str, kind: str, command: str) -> str:
    """What the hub's client stumbled over, and the way round it, in one line.

    Args:
        command: does the same by hand.
    """
    kinds = {one.__name__ for one in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    place = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{place}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if "GatedRepoError" in kinds:
        return f"the hub's repository is gated: ask for access at {address}, then log in (hf auth login, or HF_TOKEN)"
    if "RepositoryNotFoundError" in kinds or status in (401, 403):
        return (
            f"the hub has no repository of that name that this account may use (status {status}): check the name, "
            f"{address}, and log in if it is private or yours (hf auth login, or HF_TOKEN)"
        )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return f"the hub may not be asked (HF_HUB_OFFLINE): unset it; or, where there is a network: {command}"
    if status is None and kinds & {"LocalEntryNotFoundError", "ConnectionError", "ConnectError", "TimeoutException"}:
        return f"the hub ({place}) cannot be reached; where it can: {command} ({reason[:200]})"
    return f"the hub's client failed ({reason[:200]})"
