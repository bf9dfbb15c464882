"""The HTTP library as this room uses it: connections that a request can end, and its exceptions in our words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError

Trouble = Literal["busy", "address", "unreachable", "tls", "silent", "broken", "too-large"]

FAILURES = (requests.RequestException, HTTPError, OSError, UnicodeError)
"""Everything that a request, or reading its answer, may raise."""

_BAD_ADDRESS = (
    requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader, UnicodeError,
)  # fmt: skip


class _Thread(threading.local):
    uses: Callable[[socket.socket], None] | None = None


thread = _Thread()
"""``uses`` is told the connection of the request that runs on this thread, as soon as there is one."""


def _note(connection: HTTPConnection) -> None:
    if thread.uses is not None and connection.sock is not None:
        thread.uses(connection.sock)


class _Plain(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _note(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)  # one that was kept from a former request
        super().request(*args, **kwargs)


class _Tls(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _note(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().request(*args, **kwargs)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._use_ours(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return self._use_ours(super().proxy_manager_for(*args, **kwargs))

    @staticmethod
    def _use_ours(manager: Any) -> Any:
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
        return manager


class _OfUrl(AuthBase):
    """User and password of the URL, if it has them. Without an ``auth`` of its own the library would look into a
    .netrc, and put what it finds there in the place of the configured Authorization."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = get_auth_from_url(request.url or "")
        return HTTPBasicAuth(user, password)(request) if user else request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Redirects are ours to judge; the library would read the whole body of one, however long it is."""


def session(kept: int) -> requests.Session:
    """At most ``kept`` connections are kept for further requests. May be used by several threads."""
    made = _Session()
    made.auth = _OfUrl()
    adapter = _Adapter(pool_connections=4, pool_maxsize=kept)
    for scheme in ("http://", "https://"):
        made.mount(scheme, adapter)
    return made


def trouble_of(error: Exception, connect: float, silence: float) -> tuple[Trouble, str]:
    """What went wrong, and the details. The library's own texts contain the URL, so they are not shown."""
    chain = list(_chain(error))
    said = next(filter(None, map(_said, chain)), "")
    found: tuple[Trouble, str] = ("broken", said or "the connection ended")
    if isinstance(error, requests.exceptions.SSLError):
        found = "tls", said or "no secure connection can be made"
    elif isinstance(error, requests.ConnectTimeout):
        found = "unreachable", f"no connection within {connect:g} s"
    elif isinstance(error, requests.exceptions.ProxyError):
        found = "unreachable", f"the proxy cannot be used: {said or 'it does not answer'}"
    elif any(isinstance(one, NewConnectionError) for one in chain):
        found = "unreachable", said or "no connection"
    elif any(isinstance(one, requests.ReadTimeout | ReadTimeoutError) for one in chain):
        found = "silent", f"nothing came for {silence:g} s"
    elif isinstance(error, _BAD_ADDRESS):
        found = "address", "its url or one of its headers cannot be sent"
    return found


def _said(error: BaseException) -> str:
    """What the operating system, or the check of a certificate, said."""
    if not isinstance(error, OSError):
        return ""
    return str(getattr(error, "verify_message", "") or error.strerror or "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it was made of."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and not any(one is other for other in seen):
            seen.append(one)
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
            yield one
