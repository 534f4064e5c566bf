"""The server of the page: Python's own, since the page is one user's, on one machine.

It takes a file as the body of a request, writes it into a temporary folder for the task, and deletes it with
the answer.
"""

import contextlib
import json
import tempfile
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from common.cli import print_note
from common.errors import UsageError, VisionError
from visionrnn.demo.tabs import MODELS, TABS
from visionrnn.tasks import TASKS

FOLDER = Path(__file__).parent
STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4", ".csv": "text/csv; charset=utf-8"}
EXAMPLES = {
    "caption": ("cat.jpg", "photographer.jpg", "coffee.jpg"),
    "read": ("receipt.jpg",),
    "segment": ("street.jpg",),
    "ask": ("coffee.jpg", "cat.jpg"),
    "classify": ("clip.mp4",),
    "forecast": ("sales.csv",),
}
"""Files of the folder `examples`, by tab."""
POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Serve a page to try the tasks on, for this machine alone, until Ctrl-C.

        visionrnn demo

    Nothing is loaded from elsewhere. What is dropped on the page is deleted with the answer.
    """

    port: int = 7860
    """Of the address; 0 takes a free one."""
    max_megabytes: float = 50.0
    """Larger files are refused."""


class Server(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1; one task works at a time, as on a command line."""

    daemon_threads = True

    def __init__(self, port: int, max_megabytes: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.max_bytes = int(max_megabytes * 1e6)
        self.work = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, its style and program, the examples, the list of tabs."""
        path = unquote(urlsplit(self.path).path)
        if not self._from_here():
            return
        if path in STATIC:
            name, kind = STATIC[path]
            self._send(HTTPStatus.OK, (FOLDER / name).read_bytes(), kind)
        elif path == "/tabs":
            self._json(HTTPStatus.OK, tabs())
        elif path.removeprefix("/examples/") in {name for names in EXAMPLES.values() for name in names}:
            file = FOLDER / "examples" / path.removeprefix("/examples/")
            self._send(HTTPStatus.OK, file.read_bytes(), TYPES[file.suffix])
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"{path}: not here"})

    def do_POST(self) -> None:
        """Run a task on the file in the body."""
        parts = urlsplit(self.path)
        verb = parts.path.removeprefix("/run/")
        self.close_connection = True  # the body of a refused request is not read
        if not self._from_here():
            return
        if verb not in TABS:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"{parts.path}: not here"})
            return
        try:
            size = int(self.headers.get("Content-Length") or -1)
        except ValueError:
            size = -1
        limit = self.server.max_bytes
        if size <= 0:
            self._json(HTTPStatus.BAD_REQUEST, {"error": "the file is empty"})
        elif size > limit:
            said = f"the file has {size / 1e6:.1f} MB, and at most {limit / 1e6:g} MB are taken"
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": said})
        else:
            options = dict(parse_qsl(parts.query))
            self._json(*self._run(verb, self.rfile.read(size), options))

    def _run(self, verb: str, content: bytes, options: dict[str, str]) -> tuple[HTTPStatus, dict[str, Any]]:
        name = Path(options.get("name", "").replace("\\", "/")).name.lstrip(".") or "file"
        with tempfile.TemporaryDirectory(prefix="visionrnn-") as folder:
            file = Path(folder, name[-80:])
            try:
                file.write_bytes(content)
                with self.server.work:
                    return HTTPStatus.OK, TABS[verb](file, options)
            except (VisionError, ValueError) as error:
                return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error).replace(f"{folder}/", "")}
            except Exception as error:
                print_note(f"{verb}: {error!r}")
                said = f"this file could not be handled ({type(error).__name__})"
                return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": said}

    def _from_here(self) -> bool:
        """Refuse other sites' pages, also by a name of theirs that leads to this machine."""
        port = self.server.server_address[1]
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        origin = self.headers.get("Origin")
        allowed = self.headers.get("Host") in hosts and (
            origin is None or origin in {f"http://{host}" for host in hosts}
        )
        if not allowed:
            self.close_connection = True
            self._json(HTTPStatus.FORBIDDEN, {"error": "only the page of this machine is answered"})
        return allowed

    def _json(self, status: HTTPStatus, values: Any) -> None:
        content = json.dumps(values, ensure_ascii=False).encode()
        self._send(status, content, "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the page was closed
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing for each request."""


def tabs() -> list[dict[str, Any]]:
    """What the page shows as tabs."""
    return [
        {"verb": task.verb, "title": task.title, "does": task.does, "examples": EXAMPLES[task.verb],
         "models": list(MODELS.items()) if task.verb == "classify" else []}
        for task in sorted((t for t in TASKS if t.verb in TABS), key=lambda t: list(TABS).index(t.verb))
    ]  # fmt: skip


def main(config: Config) -> None:
    """Serve until interrupted. Raises UsageError where the port is taken."""
    try:
        server = Server(config.port, config.max_megabytes)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {config.port}: {error}; name another, or 0 for a free one") from None
    with server:
        print(f"visionrnn demo: http://127.0.0.1:{server.server_address[1]} (Ctrl-C ends it)", flush=True)
        server.serve_forever()
