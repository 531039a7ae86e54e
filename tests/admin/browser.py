"""An HTTP client for the admin port, over a real socket."""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from tests.processes import TOKEN


@dataclass(frozen=True)
class Answer:
    """What the port said."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    admin: str, path: str, method: str = "GET", body: Any = None, token: str | None = TOKEN, **headers: str
) -> Answer:
    """One request. A body that is no text goes as JSON; underscores in header names become hyphens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given.setdefault("Authorization", f"Bearer {token}")
    if body is not None and not isinstance(body, str | bytes):
        body = json.dumps(body)
        given.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(admin, timeout=10)
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
    finally:
        connection.close()


@dataclass(frozen=True)
class Browser:
    """One who has logged in on the page."""

    admin: str
    cookie: str
    csrf: str

    @classmethod
    def log_in(cls, admin: str, token: str = TOKEN) -> "Browser":
        answer = ask(admin, "/api/v1/login", "POST", {"token": token}, None)
        assert answer.status == 200, answer
        return cls(admin, answer.headers["Set-Cookie"].partition(";")[0], answer.json["csrf"])

    def get(self, path: str) -> Answer:
        return ask(self.admin, path, token=None, Cookie=self.cookie)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        given = {"X_CSRF_Token": self.csrf, "Origin": f"http://{self.admin}", **headers}
        return ask(self.admin, path, "POST", body, None, Cookie=self.cookie, **{k: v for k, v in given.items() if v})
