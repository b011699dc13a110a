"""Which requests are answered at all, and what every answer says to a browser.

A page of another site can make a browser send requests to this server, also by giving its own name
this machine's address (DNS rebinding). So Host must be a name of this machine, and a request that a
browser sends for another site is refused by its Origin or Sec-Fetch-Site.
"""

import hmac
import ipaddress
import socket
import urllib.parse
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inres.web.answers import ApiError
from inres.web.settings import Settings, is_local

CONTENT_SECURITY_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'"),
        *("img-src 'self' blob: data:", "connect-src 'self'", "font-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer."""
_OPEN = "/api/health"
"""The only function of the API that needs no token."""
_READ = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses requests that are not from this server's own page or a program of its user."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._names = _names(settings)
        self._cookie = f"inres_{settings.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket is closed

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            answer = self._checked(scope)
        except ApiError as error:
            answer = error.answer()
        app = self._app if answer is None else answer
        await app(scope, receive, send_with_headers)

    def _checked(self, scope: Scope) -> Response | None:
        """None for a request to be answered, or the answer that takes the token as a cookie.

        Raises:
          ApiError: the request is refused.
        """
        headers = Headers(scope=scope)
        if not scope["path"].startswith("/"):  # GET http://other/..., OPTIONS *
            raise ApiError(HTTPStatus.BAD_REQUEST, "the path of a request must begin with /")
        host = self._checked_host(headers)
        _refuse_other_sites(scope, headers, host)
        return self._checked_token(scope, headers)

    def _checked_host(self, headers: Headers) -> str:
        given = headers.getlist("host")
        if len(given) != 1 or not self._is_ours(_name_of(given[0])):
            raise ApiError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the address of this request is not one of this server",
                "use the address that the server printed, or add the name with --name",
            )
        return given[0].lower()

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        if is_local(self._settings.host):
            return False
        try:  # an address cannot be given to another machine, unlike a name
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _checked_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._settings.token
        if not token or scope["path"] == _OPEN:
            return None
        query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
        given = query.get("token", [])
        if scope["path"] == "/" and scope["method"] == "GET" and len(given) == 1:
            if not _equal(given[0], token):
                raise _unauthorized("the token in this address is not that of this server")
            answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
            answer.headers["Cache-Control"] = "no-store"
            answer.set_cookie(self._cookie, token, httponly=True, samesite="strict", path="/")
            return answer
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _equal(value.strip(), token):
            return None
        if any(_equal(value, token) for value in self._cookies(headers)):
            return None
        if not scope["path"].startswith("/api/") and scope["method"] in _READ:
            return None  # the page itself, which holds no data and asks for the token
        raise _unauthorized("this server needs its token")

    def _cookies(self, headers: Headers) -> list[str]:
        found = []
        for header in headers.getlist("cookie"):
            try:
                cookie = SimpleCookie(header).get(self._cookie)
            except CookieError:
                continue
            found += [cookie.value] if cookie else []
        return found


def _unauthorized(message: str) -> ApiError:
    return ApiError(
        HTTPStatus.UNAUTHORIZED,
        message,
        "open the address with ?token= that the server printed, or send the header "
        "Authorization: Bearer TOKEN",
    )


def _equal(first: str, second: str) -> bool:
    """Whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode())


def _names(settings: Settings) -> set[str]:
    """Names of this machine, in small letters."""
    names = {"localhost", "127.0.0.1", "::1", *map(str.lower, settings.names)}
    if not is_local(settings.host):
        names |= {settings.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    elif settings.host:
        names.add(settings.host.lower())
    return names


def _name_of(host: str) -> str:
    """The name in a Host header, without its port; empty if it is malformed."""
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    plain = parts.netloc == host and "@" not in host and not parts.path
    return (parts.hostname or "") if plain else ""


def _refuse_other_sites(scope: Scope, headers: Headers, host: str) -> None:
    """Refuse a request that a browser sends for a page of another site.

    A link on such a page may open this server's page, but nothing may read or change its data.

    Raises:
      ApiError: the request is refused.
    """
    api = scope["path"].startswith("/api/")
    changes = scope["method"] not in _READ
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if not (api or changes):
        return
    other = site is not None and site not in ("same-origin", "none")
    if origin is not None:
        parts = origin.partition("://")
        other |= parts[0] not in ("http", "https") or parts[2].lower() != host
    if other:
        raise ApiError(HTTPStatus.FORBIDDEN, "this request comes from another site")
