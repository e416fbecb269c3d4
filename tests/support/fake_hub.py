"""A Hugging Face hub on this machine: what `huggingface_hub` asks of one to fetch and to upload repositories.

`with FakeHub(folder) as hub:` serves the repositories under `folder/models/OWNER/NAME` and `folder/datasets/OWNER/NAME`
and takes uploads there. `client_environment` has the variables that send the client to it; the client reads them when
it is imported, so it runs in a process of its own (`run`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from local_server import HTTPServer, LocalServer

TOKEN = "hf_token_of_the_tests"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".model")


class FakeHub(LocalServer):
    """The hub; attributes may be changed while it runs.

    Args:
        folder: of the repositories.

    Attributes:
        gated: names of repositories that tell of themselves, and whose files nobody may have.
        asked: (method, path) of every request so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.objects: dict[str, bytes] = {}  # oid -> what was uploaded by LFS

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler

    def client_environment(self, cache: Path, **more: str) -> dict[str, str]:
        """The variables of a process whose hub this is."""
        unset = ("HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy")
        rest = {name: value for name, value in os.environ.items() if name not in unset}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        support = os.pathsep.join([str(Path(__file__).parent), rest.get("PYTHONPATH", "")])
        return {**rest, **own, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": support, **more}

    def run(self, cache: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """`python ARGUMENTS` as a client of this hub."""
        return subprocess.run(
            [sys.executable, *arguments], env=self.client_environment(cache, **environment), text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip

    def repository(self, kind: str, name: str) -> Path:
        return self.folder / kind / name


def _files(repository: Path) -> list[Path]:
    return sorted(path for path in repository.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HTTPServer

    # --- what is asked ---------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        self._note()
        parts = self._parts()
        if parts[:1] == ["api"] and len(parts) >= 4:
            kind, name, rest = parts[1], "/".join(parts[2:4]), parts[4:]
            repository = self._found(kind, name)
            if repository is None:
                return
            if rest[:1] == ["tree"]:
                return self._json(200, [_entry(path, repository) for path in _files(repository)])
            return self._json(200, self._about(kind, name, repository))
        self._resolve(parts)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._note()
        parts, body = self._parts(), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts == ["api", "validate-yaml"]:
            return self._json(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._error(401, None, "Invalid username or password.")
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts[-1] == "batch":
            return self._lfs_batch(json.loads(body))
        kind, name, action = parts[1], "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            return self._preupload(json.loads(body))
        if action == "commit":
            return self._commit(kind, name, body)
        self._error(404, None, "no such path")

    def do_PUT(self) -> None:
        self._note()
        self.server.owner.objects[self._parts()[-1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(200, b"", {})

    # --- reading ---------------------------------------------------------------------------------------------------

    def _about(self, kind: str, name: str, repository: Path) -> dict:
        siblings = [{"rfilename": path.relative_to(repository).as_posix()} for path in _files(repository)]
        hub = self.server.owner
        return {
            "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0,
            "private": name in hub.private, "gated": "manual" if name in hub.gated else False,
        }  # fmt: skip

    def _resolve(self, parts: list[str]) -> None:
        kind, parts = ("datasets", parts[1:]) if parts[:1] == ["datasets"] else ("models", parts)
        if len(parts) < 5 or parts[2] != "resolve":
            return self._error(404, None, "no such path")
        name = "/".join(parts[:2])
        repository = self._found(kind, name)
        if repository is None:
            return
        if name in self.server.owner.gated:
            return self._error(403, "GatedRepo", f"Access to {kind} {name} is restricted.")
        file = repository / "/".join(parts[4:])
        if not file.is_file():
            return self._error(404, "EntryNotFound", "Entry not found")
        content = file.read_bytes()
        self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _found(self, kind: str, name: str) -> Path | None:
        repository = self.server.owner.repository(kind, name)
        if repository.is_dir():
            return repository
        self._error(401, "RepoNotFound", "Repository not found")  # as the real one, to those without an account
        return None

    # --- writing ---------------------------------------------------------------------------------------------------

    def _create(self, asked: dict) -> None:
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        hub = self.server.owner
        repository = hub.repository(f"{asked.get('type', 'model')}s", name)
        if repository.exists():
            return self._error(409, None, "You already created this repo", url=f"{hub.url}/{name}")
        repository.mkdir(parents=True)
        if asked.get("private") or asked.get("visibility") == "private":
            hub.private.add(name)
        self._json(200, {"url": f"{hub.url}/{name}", "name": name, "id": name})

    def _preupload(self, asked: dict) -> None:
        modes = [
            {"path": one["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if one["path"].endswith(LFS_SUFFIXES) else "regular"}
            for one in asked["files"]
        ]  # fmt: skip
        self._json(200, {"files": modes})

    def _lfs_batch(self, asked: dict) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.owner.url}/objects/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects})

    def _commit(self, kind: str, name: str, body: bytes) -> None:
        hub = self.server.owner
        repository = hub.repository(kind, name)
        for line in body.decode().splitlines():
            one = json.loads(line)
            value = one["value"]
            if one["key"] == "file":
                content = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                content = hub.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"], value["path"]
            else:
                continue
            file = repository / value["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self._json(200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{hub.url}/{name}/commit/{COMMIT}"})

    # --- answers ---------------------------------------------------------------------------------------------------

    def _note(self) -> None:
        self.server.owner.asked.append((self.command, self.path))

    def _parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _json(self, status: int, content) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str, **more: str) -> None:
        headers = {"Content-Type": "application/json", "X-Error-Message": message}
        if code is not None:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": message, **more}).encode(), headers)

    def _send(self, status: int, payload: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: the base class writes a line a request."""


def _entry(path: Path, repository: Path) -> dict:
    content = path.read_bytes()
    entry = {"type": "file", "path": path.relative_to(repository).as_posix(), "size": len(content)}
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix in LFS_SUFFIXES:
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 100}
    return {**entry, "oid": digest[:40]}
