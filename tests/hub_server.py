"""A stand-in for the Hugging Face hub on loopback: repositories of models with one branch, weights sent as LFS."""

import base64
import functools
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
from huggingface_hub.hf_api import api

TOKEN = "hf_right"
OTHERS = "others"
"""An owner whose repositories the token may not write to."""


class HubServer(ThreadingHTTPServer):
    """Its repositories, and what has been sent to it.

    Attributes:
        files: of each repository, the content of each file.
        sent: SHA-256 of each LFS file that was sent, as often as it was.
        failing_commits: how many of the next commits are refused.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.failing_commits = 0


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: Any = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                item
                if item["oid"] in self.server.objects
                else {**item, "actions": {"upload": {"href": f"{self.server.url}/objects/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == OTHERS:
            self._answer(403, {"error": "You don't have the rights to create a model under the namespace"})
        else:
            status = 409 if name in self.server.files else 200
            self.server.files.setdefault(name, {".gitattributes": b""})
            self._answer(status, {"url": f"{self.server.url}/{name}"})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        if self.server.failing_commits:
            self.server.failing_commits -= 1
            self._answer(400, {"error": "not now"})
            return
        files = self.server.files[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self._answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40})

    def do_PUT(self) -> None:
        content = self._body()
        self.server.objects[self.path.rpartition("/")[2]] = content
        self.server.sent.append(hashlib.sha256(content).hexdigest())
        self._answer(200)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        listing = re.fullmatch(r"/api/models/(.+)/tree/main", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if listing and listing[1] in self.server.files:
            files = self.server.files[listing[1]].items()
            entries = [{"type": "file", "path": p, "size": len(c), "oid": _etag(c)} for p, c in files]
            self._answer(200, entries)
        elif file and file[2] in self.server.files.get(file[1], {}):
            content = self.server.files[file[1]][file[2]]
            self._answer(200, content, ETag=f'"{_etag(content)}"', X_Repo_Commit="0" * 40)
        else:
            self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit="0" * 40)

    do_HEAD = do_GET


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@functools.cache
def _running() -> HubServer:
    """One server for all tests of a process: clients keep the address that they have first seen."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def hub_server(monkeypatch: pytest.MonkeyPatch, cache: Path) -> HubServer:
    """The server, empty, which all of this process takes for the hub; with the right token and an empty cache."""
    server = _running()
    server.clear()
    monkeypatch.setattr(hub, "ENDPOINT", server.url)
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(api, "endpoint", server.url)  # made when the library was imported
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server
