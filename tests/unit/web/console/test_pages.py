"""The console's pages at the edge of one worker: who sees them, what protects them, and that all text stays text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from console_site import DOCUMENTS, HOSTILE, KEY, OTHER, TOOL, Site
from fake_gateway import ScriptedExchange
from werkzeug.test import TestResponse

from metamcp.access import keys, signing_in
from metamcp.access.keys import ADMIN
from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Ask, Is, Outbound, Stateless, failure

TRY = "/console/endpoints/dev/tools/git__log"
PAGES = [
    "/", "/console/servers/git", "/console/sessions", "/console/calls", "/console/endpoints", "/console/endpoints/dev",
    "/console/endpoints/open", "/console/endpoints/sso", TRY, "/console/diagnostics",
    *(f"/console/endpoints/{name}/inspect" for name in ("dev", "open", "sso")),
    "/console/configuration", "/console/configuration/images/ghcr.io/a/*",
    *(f"/console/configuration/{kind}" for kind in ("servers", "namespaces", "endpoints", "images")),
]  # fmt: skip


@pytest.fixture
def open_site(tmp_path: Path) -> Site:
    """Without keys."""
    return Site(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, operator=ADMIN, laptop="dev")


class Elements(HTMLParser):
    """Every element of a page, and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


# --- every page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_every_page_takes_its_own_scripts_and_styles_alone(open_site: Site, path: str) -> None:
    page = open_site.get(path)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_what_servers_and_clients_write_stays_text(open_site: Site, path: str) -> None:
    elements = Elements(open_site.get(path).text).found
    sources = [attributes.get("src") for tag, attributes in elements if tag in ("img", "script")]
    assert sources and all(source and source.startswith("/console/static/") for source in sources)
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]
    assert not [tag for tag, attributes in elements if tag == "script" and "src" not in attributes]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_without_looking(open_site: Site, path: str) -> None:
    elements = Elements(open_site.get(path).text).found
    tags = [tag for tag, _ in elements]
    assert tags.count("main") == tags.count("h1") == 1 and "nav" in tags and "header" in tags
    names = {attributes["id"] for _, attributes in elements if attributes.get("id")}
    assert len(names) == len([1 for _, attributes in elements if attributes.get("id")]), "an id stands for one element"
    for attribute in ("for", "aria-labelledby"):
        assert {attributes[attribute] for _, attributes in elements if attribute in attributes} <= names
    fields = [attributes for tag, attributes in elements if tag in ("input", "select", "textarea")]
    shown = [field for field in fields if field.get("type") not in ("hidden", "checkbox") and "hidden" not in field]
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    assert {field["id"] for field in shown} <= labelled
    current = [attributes.get("href") for tag, attributes in elements if "aria-current" in attributes]
    assert len(current) == 1


def test_every_value_is_in_the_page_without_any_script(open_site: Site) -> None:
    text = open_site.get("/").text
    for value in ("BACKOFF", "2027-01-15 08:00:00 UTC", "&lt;img src=x"):
        assert value in text
    assert "4.8 MiB" in open_site.get("/console/servers/git").text


def test_a_slash_more_or_less_is_no_other_page(open_site: Site) -> None:
    for path in ("", *(f"{page}/" for page in PAGES[1:])):
        page = open_site.http.get("/", environ_overrides={"PATH_INFO": path}, headers={"Accept": "text/html"})
        assert page.status_code == 200, path


def test_a_server_or_tool_that_is_not_there_is_404_as_a_page(open_site: Site) -> None:
    unknown = ["/console/servers/none", "/console/endpoints/none", "/console/endpoints/dev/tools/none"]
    for path in (*unknown, "/console/configuration/none", "/console/configuration/keys/a"):
        page = open_site.get(path)
        assert (page.status_code, page.mimetype) == (404, "text/html"), path


def test_a_supervisor_that_is_away_is_told_as_a_page(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    away = failure(SupervisorAway("the supervisor is not reachable"))
    monkeypatch.setattr(open_site.gateway, "exchange", lambda _request: ScriptedExchange((away,)))
    page = open_site.get("/")
    assert page.status_code == 503 and "the supervisor is not reachable" in page.text


def test_static_files_are_for_everybody_and_are_not_guessed(site: Site) -> None:
    folder = Path(__file__).parents[4] / "metamcp" / "web" / "console" / "static"
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for file in folder.iterdir():
        with site.get(f"/console/static/{file.name}") as answer:
            assert (answer.status_code, answer.mimetype) == (200, kinds[file.suffix])
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert site.get("/console/static/../routes.py").status_code == 404
    assert site.get("/console/static/%2e%2e/routes.py").status_code == 404


# --- signing in --------------------------------------------------------------------------------------------


def test_without_keys_nobody_has_to_sign_in(open_site: Site) -> None:
    assert open_site.get("/").status_code == 200
    assert open_site.get("/login").headers["Location"] == "/"


@pytest.mark.parametrize("path", PAGES)
def test_who_has_not_signed_in_is_led_there_and_back(site: Site, path: str) -> None:
    sent = site.get(path)
    assert sent.status_code == 303 and sent.headers["Location"].startswith("/login?next=")
    assert site.http.head(path, headers={"Accept": "text/html"}).status_code == 303
    assert site.get(sent.headers["Location"]).status_code == 200
    assert site.sign_in(onward=path).headers["Location"] == path
    assert site.get(path).status_code == 200


@pytest.mark.parametrize(
    "onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "/api/status", "/console/é", ""]
)
def test_nobody_is_led_elsewhere(site: Site, onward: str) -> None:
    assert site.sign_in(onward=onward).headers["Location"] == "/"


def test_the_cookie_is_not_the_key_and_stays_with_its_site(site: Site) -> None:
    cookie = site.sign_in().headers["Set-Cookie"]
    assert KEY not in cookie and keys.hash_of(KEY) not in cookie
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "Secure" in site.sign_in(**{"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]


@pytest.mark.parametrize("key", [OTHER, KEY[:-1], "", "mmcp_", KEY.swapcase(), HOSTILE])
def test_no_other_key_signs_in_and_it_is_noted(site: Site, key: str) -> None:
    refused = site.sign_in(key)
    assert refused.status_code == 401 and "Set-Cookie" not in refused.headers
    assert len(key) < 40 or key not in refused.text
    assert site.gateway.refusals[-1].status == 401


def test_signing_in_is_noted_with_who_it_was(site: Site) -> None:
    site.sign_in()
    (order,) = site.orders
    assert (order.subject, order.principal) == ("sign-in", "operator")


def test_a_revoked_key_ends_what_it_signed_in(site: Site) -> None:
    site.sign_in()
    assert site.get("/").status_code == 200
    site.revoke()
    assert site.get("/").status_code == 303
    assert site.http.get("/api/status").status_code == 401


def test_page_of_an_endpoint_shows_each_address_of_it(site: Site) -> None:
    site.sign_in()
    shown = site.get("/console/endpoints/dev").text
    assert all(f"http://localhost/metamcp/dev/{kind}<" in shown for kind in ("mcp", "sse", "api"))


def test_the_cookie_opens_operators_routes_and_no_endpoint(site: Site) -> None:
    site.sign_in()
    assert site.http.get("/api/status").status_code == 200
    assert site.http.get("/docker-test/test").status_code == 200
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert site.http.post("/metamcp/dev/mcp", json=ping).status_code == 401
    assert site.http.post("/metamcp/nowhere/mcp", json=ping).status_code == 401


def test_signing_out_forgets_the_cookie(site: Site) -> None:
    site.sign_in()
    out = site.send("/logout", csrf=site.token())
    assert (out.status_code, out.headers["Location"]) == (303, "/login")
    assert site.http.get_cookie(signing_in.COOKIE) is None
    assert site.get("/").status_code == 303


def test_a_key_in_a_header_opens_the_pages_too(site: Site) -> None:
    for path in PAGES:
        assert site.get(path, Authorization=f"Bearer {KEY}").status_code == 200
        assert site.get(path, Authorization=f"Bearer {OTHER}").status_code == 403


# --- forms -------------------------------------------------------------------------------------------------

STOP = "/console/servers/git/stop"


def test_a_form_with_its_token_does_what_it_says_and_who_did_it(site: Site) -> None:
    site.sign_in()
    done = site.send(STOP, csrf=site.token())
    assert (done.status_code, done.mimetype) == (200, "text/html")
    assert "&lt;img src=x" in done.text and "<img src=x" not in done.text
    order = site.orders[-1]
    assert (order.subject, order.argument, order.principal) == ("stop", "git", "operator")


@pytest.mark.parametrize("path", [STOP, "/console/reload", TRY, "/console/diagnostics", "/logout", "/api/reload"])
@pytest.mark.parametrize("token", ["", "0" * 64, "\u00e9"])
def test_nothing_is_done_by_a_cookie_without_the_token(site: Site, path: str, token: str) -> None:
    site.sign_in()
    before = len(site.gateway.requests)
    assert site.send(path, csrf=token).status_code == 403
    assert len(site.gateway.requests) == before


def test_a_script_sends_the_token_as_a_header(site: Site) -> None:
    site.sign_in()
    token = site.token()
    done = site.http.post(STOP, headers={"X-CSRF-Token": token, "Accept": "application/json"})
    assert done.json == {"done": True, "text": HOSTILE}
    site.sign_in()
    assert site.http.post(STOP, headers={"X-CSRF-Token": token}).status_code == 403, "it is another one's"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://mcp.example.com", "http://evil.example", "null"])
@pytest.mark.parametrize("keyed", [False, True])
def test_pages_of_other_origins_do_nothing(tmp_path: Path, origin: str, keyed: bool) -> None:
    site = Site(tmp_path, operator=ADMIN) if keyed else Site(tmp_path)
    site.sign_in()
    token = site.token()
    for path in (STOP, "/console/reload", "/api/reload", "/login"):
        assert site.send(path, {"Origin": origin}, csrf=token, key=KEY).status_code == 403, path
    assert {it.subject for it in site.orders} <= {"sign-in"}


def test_pages_of_its_own_origin_do(open_site: Site) -> None:
    assert open_site.send(STOP, {"Origin": "http://localhost"}).status_code == 200
    assert open_site.send(STOP, {"Origin": "http://localhost:12009", "Host": "localhost:12009"}).status_code == 200


def test_what_cannot_be_done_is_told_with_its_status(open_site: Site) -> None:
    open_site.gateway.done = Outbound(Is.ANSWER, b'{"error":"try <reset>"}', 409)
    page = open_site.send(STOP)
    assert page.status_code == 409 and "try &lt;reset&gt;" in page.text
    assert open_site.send("/console/servers/git/explode").status_code == 404


def test_diagnostics_show_what_failed_and_what_to_do(open_site: Site) -> None:
    page = open_site.send("/console/diagnostics")
    assert page.status_code == 200 and "1 of 1 checks failed" in page.text
    assert "<img src=x" not in page.text


# --- trying a tool -----------------------------------------------------------------------------------------


def answered(**result: Any) -> Outbound:
    return Outbound(Is.ANSWER, json.dumps({"jsonrpc": "2.0", "id": "console", "result": result}).encode())


def called(site: Site, endpoint: str = "open", **fields: str) -> TestResponse:
    named = {name if name == "csrf" else f"argument:{name}": value for name, value in fields.items()}
    return site.http.post(f"/console/endpoints/{endpoint}/tools/git__log", data=named, headers={"Accept": "text/html"})


def test_a_call_is_one_request_of_a_client_with_its_typed_arguments(open_site: Site) -> None:
    open_site.gateway.done = answered(content=[{"type": "text", "text": HOSTILE}], structuredContent={"a": HOSTILE})
    page = called(open_site, text="a\r\nb", count="3")
    assert page.status_code == 200 and "<img src=x" not in page.text and "&lt;img src=x" in page.text
    request = open_site.orders[-1]
    assert isinstance(request, Stateless)
    assert (request.client.endpoint, request.client.principal, request.method) == ("open", "anonymous", "tools/call")
    params = json.loads(request.payload)
    assert (params["name"], params["arguments"]) == ("git__log", {"text": "a\nb", "count": 3})
    assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


def test_arguments_that_headers_repeat_are_repeated(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = {"properties": {"text": {"type": "string", "x-mcp-header": "Region"}}}
    monkeypatch.setitem(DOCUMENTS["catalog"], "tools", [TOOL | {"inputSchema": mirrored}])
    called(open_site, text="Zürich")
    assert open_site.orders[-1].headers == {"region": "Zürich"}


def test_what_cannot_be_sent_is_told_and_what_was_written_stays(open_site: Site) -> None:
    page = called(open_site, text="kept", count="many")
    assert page.status_code == 400 and "this must be a whole number" in page.text and "kept" in page.text
    assert open_site.orders == []


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (answered(content=[], isError=True), "The tool reports an error."),
        (answered(resultType="input_required"), "asks its client for something"),
        (answered(content=[{"type": "image", "data": "AAAA", "mimeType": "image/png"}, 5]), "image (image/png)"),
        (Outbound(Is.ANSWER, b'{"error":{"code":-31001,"message":"it is <away>"}}'), "Error -31001: it is &lt;"),
        (Outbound(Is.ANSWER, b'{"result":{"content":[{"type":"text","text":"half \\ud83d"}]}}'), "half ?"),
        (Outbound(Is.ENDED), "The supervisor gave the call up"),
        (Outbound(Is.ANSWER, b"[" * 100_000), "cannot be shown"),
    ],
)
def test_whatever_comes_back_is_shown(open_site: Site, done: Outbound, text: str) -> None:
    open_site.gateway.done = done
    page = called(open_site, text="x")
    assert page.status_code == 200 and text in page.text


def test_a_result_that_no_browser_could_show_is_cut(open_site: Site) -> None:
    open_site.gateway.done = answered(content=[{"type": "text", "text": "x" * 5_000_000}], structuredContent={"a": 1})
    page = called(open_site, text="x")
    assert "… and 4800000 more characters" in page.text and len(page.text) < 600_000


def test_at_an_endpoint_for_keys_the_operator_calls_by_name(site: Site) -> None:
    site.sign_in()
    site.gateway.done = answered(content=[])
    assert called(site, "dev", text="x", csrf=site.token()).status_code == 200
    assert site.orders[-1].client.principal == "operator"
    assert called(site, "open", text="x", csrf=site.token()).status_code == 200
    assert site.orders[-1].client.principal == "anonymous"
    tried = [(it.argument, it.principal) for it in site.orders if isinstance(it, Ask) and it.subject == "try-tool"]
    assert tried == [("dev git__log", "operator"), ("open git__log", "operator")], "who it was, whatever is asked"


def test_at_an_endpoint_for_tokens_nobody_calls_from_here(site: Site) -> None:
    site.sign_in()
    assert "tokens of its issuer alone" in site.get("/console/endpoints/sso/tools/git__log").text
    assert called(site, "sso", text="x", csrf=site.token()).status_code == 403
    assert [it.subject for it in site.orders] == ["sign-in"]
