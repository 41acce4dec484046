"""A stand-in for the Hugging Face hub on the loopback: the endpoints that huggingface_hub uses, kept in memory."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = re.compile(r"[0-9a-f]{40}")
TOKEN = "hf_thissecretmustnotshow"


class HubStandIn(ThreadingHTTPServer):
    """Repositories by name, of one branch each; every request needs the token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.token = TOKEN
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.num_commits = 0
        self.objects: dict[str, bytes] = {}
        """What was uploaded through LFS, by sha256."""
        self.refuses: str | None = None
        """A part of the path of requests that are answered with 400."""
        self.answers: dict[str, tuple[int, str]] = {}
        """A part of the path of requests to the status and the error code that they are answered with."""
        self.cuts: str | None = None
        """A part of the path of files of which only the first half arrives."""
        self.asked: list[str] = []
        """Method and path of every request."""

    @property
    def commit(self) -> str:
        """The newest commit's id."""
        return f"{self.num_commits:040x}"


class _Handler(BaseHTTPRequestHandler):
    server: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def _respond(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            is_cut = self.server.cuts is not None and self.server.cuts in self.path
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
            self.close_connection = self.close_connection or is_cut

    def _json(self, value: Any, status: int = 200) -> None:
        self._respond(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        hub = self.server
        hub.asked.append(f"{self.command} {path}")
        if path.startswith("/lfs/"):  # as signed links, without a token
            return self._upload(path, body)
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._json({"error": "Invalid username or password."}, 401)
        if hub.refuses is not None and hub.refuses in path:
            return self._json({"error": "refused"}, 400)
        for part, (status, code) in hub.answers.items():
            if part in path:
                return self._respond(status, b"{}", {"X-Error-Code": code} if code else {})
        if self.command == "POST":
            return self._post(path, body)
        return self._get(path)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _upload(self, path: str, body: bytes) -> None:
        oid = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid or (self.server.refuses or "-") in path:
            return self._json({"error": "refused"}, 400)
        self.server.objects[oid] = body
        self._json({})

    def _post(self, path: str, body: bytes) -> None:
        hub = self.server
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            if name in hub.repositories:
                return self._json({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
            hub.repositories[name] = {}
            hub.private[name] = given.get("private") is True or given.get("visibility") == "private"
            return self._json({"url": f"{hub.url}/{name}", "name": name})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        name = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith((".safetensors", ".pt")) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        return self._commit(name, body)

    def _commit(self, name: str, body: bytes) -> None:
        hub, files = self.server, self.server.repositories[name]
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif item["key"] == "deletedFile":
                files.pop(value["path"])
        hub.num_commits += 1
        self._json({"commitUrl": f"{hub.url}/{name}/commit/{hub.commit}", "commitOid": hub.commit, "success": True})

    def _get(self, path: str) -> None:
        hub = self.server
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_api else parts[:2])
        files = hub.repositories.get(name)
        if files is None:
            return self._respond(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = next((part for part in parts if COMMIT.fullmatch(part)), hub.commit)
        if not is_api:
            return self._file(files, "/".join(parts[4:]), commit)
        if "tree" in parts[4:5]:
            return self._json([_entry(place, content) for place, content in files.items()])
        siblings = [{"rfilename": place} for place in files]
        self._json({"id": name, "sha": commit, "private": hub.private[name], "siblings": siblings})

    def _file(self, files: dict[str, bytes], place: str, commit: str) -> None:
        if place not in files:
            return self._respond(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = f'"{hashlib.sha256(files[place]).hexdigest()}"'
        self._respond(200, files[place], {"ETag": etag, "X-Repo-Commit": commit})


def _entry(place: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": place, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    """The stand-in, where HF_ENDPOINT points to; its token is in the environment, and its cache is empty."""
    from huggingface_hub import constants

    server = HubStandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # whose service is no part of the stand-in
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    yield server
    server.shutdown()
    server.server_close()
