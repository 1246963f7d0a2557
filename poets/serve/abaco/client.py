"""Calls an Abaco platform over HTTP: registers actors, sends messages, reads logs.

    POST /actors/v2                            {image: ...}     SUBMITTED, READY, ERROR
    POST /actors/v2/ACTOR/messages             message=...      ─> an execution
    GET  /actors/v2/ACTOR/executions/EXECUTION                  SUBMITTED ... COMPLETE
    GET  /actors/v2/ACTOR/executions/EXECUTION/logs             what it printed

The platform calls an execution COMPLETE whatever its exit code. Identifiers are read
from fields, never from links: links may have another form of them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from poets.errors import ConfigError, PoetsError

BASE_URL, TOKEN = "ABACO_BASE_URL", "ABACO_TOKEN"
"""Environment variables with the platform's address and the user's token."""

TIMEOUT_S = (10, 60)  # to connect; until the platform answers
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # between two polls
CONNECTIONS = 64

LATE_LOGS_S = 10.0
"""How long logs may be missing: the platform stores them after the status COMPLETE."""


class AbacoError(PoetsError):
    """The platform does not answer, or refuses.

    Attributes:
      status: the HTTP status, 0 without an answer.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (0, 408, 429) or self.status >= 500


@dataclass(frozen=True)
class Ended:
    """An execution that has ended.

    Attributes:
      exit_code: of the container, None if the platform does not give it.
      logs: what the container printed, stdout and stderr together.
    """

    exit_code: int | None
    logs: str


class Abaco:
    """The actors of one user on one platform. It may be used by many threads."""

    def __init__(self, base_url: str, token: str) -> None:
        """Sets the address, such as "https://api.example.org/actors/v2", and the token.

        The token is sent with each request and is in no message.
        """
        self._base_url, self._token = base_url.rstrip("/"), token
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS)
            self._session.mount(scheme, adapter)

    def register(self, image: str, timeout_s: float, **fields: Any) -> str:
        """Registers an actor, waits until it is ready, and returns its id.

        `fields` are more of the platform's, as `name`.

        Raises:
          AbacoError: if the platform refuses it, or it does not become ready.
        """
        created = self._call("POST", json={"image": image, **fields})
        actor = _field(created, "id")
        self._wait("actor", "READY", timeout_s, actor)
        return actor

    def send(self, actor: str, message: str | bytes) -> str:
        """Sends a message and returns the id of its execution.

        A text becomes `MSG`; bytes are the content of an image file.

        Raises:
          AbacoError: if the platform does not take it.
        """
        body: dict[str, Any] = {"data": {"message": message}}  # URL-encoded
        if isinstance(message, bytes):
            kind = {"Content-Type": "application/octet-stream"}
            body = {"data": message, "headers": kind}
        return _field(self._call("POST", actor, "messages", **body), "executionId")

    def wait(self, actor: str, execution: str, timeout_s: float) -> Ended:
        """Waits until an execution has ended, and returns how.

        Raises:
          AbacoError: if it does not end in time, or ends with an error.
        """
        path = (actor, "executions", execution)
        found = self._wait("execution", "COMPLETE", timeout_s, *path)
        state, code = found.get("finalState"), found.get("exitCode")
        if code is None and isinstance(state, dict):
            code = state.get("ExitCode")
        late = time.monotonic() + LATE_LOGS_S
        while not (logs := self.logs(actor, execution)) and time.monotonic() < late:
            time.sleep(FIRST_PAUSE_S)
        return Ended(code if isinstance(code, int) else None, logs)

    def logs(self, actor: str, execution: str) -> str:
        """Returns what an execution has printed so far, stdout and stderr together.

        Raises:
          AbacoError: if the platform does not know it.
        """
        found = self._call("GET", actor, "executions", execution, "logs")
        return str(found.get("logs") or "")

    def _wait(
        self, kind: str, wanted: str, timeout_s: float, *path: str
    ) -> dict[str, Any]:
        """Asks for what is at a path until its status is the wanted one."""
        name, pause_s = path[-1], FIRST_PAUSE_S
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = self._call("GET", *path)
                status = str(found.get("status"))
            except AbacoError as error:
                if not error.is_passing or time.monotonic() > deadline:
                    raise
                status = f"unknown ({error})"
            if status == wanted:
                return found
            if status == "ERROR":
                reason = found.get("statusMessage") or "no reason is given"
                raise AbacoError(f"{kind} {name} ended with ERROR: {reason}", 200)
            if time.monotonic() + pause_s > deadline:
                raise AbacoError(
                    f"{kind} {name} is not {wanted} after {timeout_s:g} s: its status "
                    f"is {status}; give a longer --timeout_s",
                    200,
                )
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)

    def _call(self, method: str, *path: str, **body: Any) -> dict[str, Any]:
        """Returns the `result` in the platform's answer."""
        url = "/".join((self._base_url, *(quote(part, safe="") for part in path)))
        shown = f"{method} {urlsplit(url).path}"
        try:
            answer = self._session.request(
                method,
                url,
                timeout=TIMEOUT_S,
                allow_redirects=False,  # the token is for this server
                auth=self._authorized,
                **body,
            )
        except requests.RequestException as error:
            host = urlsplit(url).netloc
            raise AbacoError(
                f"{shown}: {host} does not answer ({type(error).__name__}); check "
                f"{BASE_URL}"
            ) from None
        try:
            content = answer.json()
            result = content["result"]
        except (ValueError, KeyError, TypeError):
            content, result = {}, None
        if answer.ok and isinstance(result, dict):
            return result
        reason = content.get("message") or f"no answer of Abaco; check {BASE_URL}"
        if answer.status_code in (401, 403):
            reason = f"{reason}; check {TOKEN}"
        raise AbacoError(
            f"{shown}: HTTP {answer.status_code}: {reason}", answer.status_code
        )

    def _authorized(
        self, request: requests.PreparedRequest
    ) -> requests.PreparedRequest:
        # As an `auth`, so that no password of a .netrc takes its place.
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def from_environment(environment: Mapping[str, str]) -> Abaco:
    """Returns the platform that the environment names.

    Raises:
      ConfigError: if the address or the token is missing or malformed.
    """
    base_url = environment.get(BASE_URL, "").strip()
    token = environment.get(TOKEN, "").strip()
    missing = [name for name in (BASE_URL, TOKEN) if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} not set; export {BASE_URL}="
            f"https://api.example.org/actors/v2 and {TOKEN}"
        )
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in base_url:
        raise ConfigError(
            f"{BASE_URL} is not an http(s) address without a login, such as "
            "https://api.example.org/actors/v2"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            f"{TOKEN} is not a token: it has spaces or control characters"
        )
    return Abaco(base_url, token)


def _field(result: Mapping[str, Any], name: str) -> str:
    value = result.get(name)
    if not isinstance(value, str) or not value:
        raise AbacoError(f"the platform's answer has no {name!r}", 200)
    return value
