"""Image references and the allowlist: which names mean the same image, and which images may run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.config.images import decide, familiar, parse_pattern, parse_reference
from metamcp.config.model import Allowlist, ImageRule
from metamcp.errors import CommandInvalid, ConfigInvalid

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def allowed(pattern: str, reference: str, digest: str | None = None) -> bool:
    return decide(Allowlist((ImageRule(pattern, digest),)), reference).allowed


# --- references --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("mcp/time", "docker.io/mcp/time:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/mcp/time:1", "docker.io/mcp/time:1"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/mcp/time", "docker.io/mcp/time:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("ghcr.io/a/b/c:1_2.3-4", "ghcr.io/a/b/c:1_2.3-4"),
        ("HOST/x", "HOST/x:latest"),
        ("a.b/c__d/e-f--g.h_i", "a.b/c__d/e-f--g.h_i:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"alpine:3.20@{DIGEST}", f"docker.io/library/alpine:3.20@{DIGEST}"),
        ("alpine@sha512:" + "0" * 128, "docker.io/library/alpine@sha512:" + "0" * 128),
    ],
)
def test_reference_is_normalised_as_the_engine_does(written: str, canonical: str) -> None:
    assert str(parse_reference(written)) == canonical


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "alpine ",
        "alpine\n",
        "Alpine",
        "a/Bc",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a@",
        "a:b:c",
        "a/b:c/d",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a._b",
        "ä",
        "a.b_/c",
        "http://ghcr.io/a",
        "a:" + "t" * 129,
        "a:-t",
        "a@sha256:" + "A" * 64,
        "a@sha256:" + "a" * 63,
        "a@md5:" + "a" * 32,
        "x/" + "a" * 255,
        "a" * 64,
        DIGEST,
        "alpine:*",
        "*",
        "$(id)",
        "--privileged",
    ],
)
def test_malformed_reference_or_image_id_is_refused(written: str) -> None:
    with pytest.raises(CommandInvalid):
        parse_reference(written)
    verdict = decide(Allowlist((ImageRule("*"),)), written)
    assert not verdict.allowed
    assert verdict.reason
    assert verdict.rule is None


COMPONENT = st.from_regex(r"\A[a-z0-9]{1,5}((\.|_|__|-{1,2})[a-z0-9]{1,5}){0,2}\Z")
DOMAIN = st.sampled_from(["", "docker.io/", "index.docker.io/", "ghcr.io/", "localhost/", "localhost:5000/", "HUB/"])
TAG = st.just("") | st.from_regex(r"\A:[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}\Z")
DIGESTS = st.sampled_from(["", "@" + DIGEST])


def is_reference(parts: tuple[str, list[str], str, str]) -> bool:
    """A first component with a dot is taken for a registry, whose name has no underscore."""
    domain, path, _, _ = parts
    return domain != "" or len(path) == 1 or "." not in path[0]


REFERENCES = (
    st.tuples(DOMAIN, st.lists(COMPONENT, min_size=1, max_size=3), TAG, DIGESTS)
    .filter(is_reference)
    .map(lambda parts: parts[0] + "/".join(parts[1]) + parts[2] + parts[3])
)


@given(REFERENCES)
def test_normalising_twice_changes_nothing(written: str) -> None:
    once = parse_reference(written)
    assert parse_reference(str(once)) == once


@given(REFERENCES)
def test_short_form_means_the_same_image(written: str) -> None:
    once = parse_reference(written)
    again = parse_reference(familiar(once))
    assert (again.repository, again.digest) == (once.repository, once.digest)
    assert once.digest or again.tag == once.tag


@given(st.text() | st.text(alphabet="aA0./:@-_*sha256[] \n"))
def test_any_text_is_a_stable_reference_or_is_refused(text: str) -> None:
    try:
        once = parse_reference(text)
    except CommandInvalid:
        return
    assert parse_reference(str(once)) == once


# --- patterns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "reference"),
    [
        ("*", "alpine"),
        ("*", "ghcr.io/a/b/c:1"),
        ("*", f"ghcr.io/a@{DIGEST}"),
        ("alpine", "alpine"),
        ("alpine", "alpine:latest"),
        ("alpine", "index.docker.io/library/alpine:latest"),
        ("docker.io/library/alpine:3.20", "alpine:3.20"),
        ("alpine:*", "alpine:3.20"),
        ("alpine:*", "alpine"),
        ("alpine:*", f"alpine@{DIGEST}"),
        ("alpine:3.*", "alpine:3.20"),
        ("ghcr.io/example/*", "ghcr.io/example/a"),
        ("ghcr.io/example/*", "ghcr.io/example/a/b:2"),
        ("ghcr.io/example/*", f"ghcr.io/example/a@{DIGEST}"),
        ("ghcr.io/example/*:1", "ghcr.io/example/a/b:1"),
        ("ghcr.io/example*", "ghcr.io/example-a:9"),
        ("ghcr.io/*/tool", "ghcr.io/a/tool:1"),
        ("ghcr.io/*", "ghcr.io/a/b/c"),
        ("docker.io/*", "alpine:1"),
        ("docker.io/*", "mcp/time"),
        ("mcp/*", "docker.io/mcp/time:1"),
        ("my*", "mysql:8"),
        ("localhost:5000/*", "localhost:5000/x"),
        (f"alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine@{DIGEST}", f"alpine:9@{DIGEST}"),
        (f"alpine@{DIGEST}", "alpine"),
        (f"alpine:3@{DIGEST}", "alpine:3"),
    ],
)
def test_pattern_lets_its_images_through(pattern: str, reference: str) -> None:
    assert allowed(pattern, reference)


@pytest.mark.parametrize(
    ("pattern", "reference"),
    [
        ("alpine", "alpine:3.20"),
        ("alpine", f"alpine@{DIGEST}"),
        ("alpine", "evil/alpine"),
        ("alpine", "ghcr.io/library/alpine"),
        ("alpine:3.20", "alpine"),
        ("alpine:3.20", "alpine:3.2"),
        ("alpine:3.2", "alpine:3.20"),
        ("alpine:3.20", f"alpine:3.20@{DIGEST}"),
        ("alpine:3.*", "alpine:3"),
        ("alpine:3.*", "alpine:3."),
        ("alpine:3.*", f"alpine:3.20@{DIGEST}"),
        ("ghcr.io/example/*", "ghcr.io/example"),
        ("ghcr.io/example/*", "ghcr.io/example-evil/a"),
        ("ghcr.io/example/*", "ghcr.io.evil.example/example/a"),
        ("ghcr.io/example/*", "evil.example/ghcr.io/example/a"),
        ("ghcr.io/example/*", "ghcr.io:443/example/a"),
        ("ghcr.io/example/*", "GHCR.io/example/a"),
        ("ghcr.io/example/*:1", "ghcr.io/example/a:2"),
        ("ghcr.io/example*", "ghcr.io/example/a"),
        ("ghcr.io/example*", "ghcr.io/example"),
        ("ghcr.io/example*", "evil.example/example-a"),
        ("ghcr.io/*/tool", "ghcr.io/a/b/tool"),
        ("docker.io/*", "ghcr.io/a"),
        ("mcp/*", "evil.example/mcp/time"),
        ("my*", "my"),
        ("my*", "mysql/server"),
        ("a.c/x", "abc/x"),
        (f"alpine@{DIGEST}", f"alpine@{OTHER}"),
        (f"alpine@{DIGEST}", "alpine:3"),
        (f"alpine@{DIGEST}", f"busybox@{DIGEST}"),
        (f"alpine:3@{DIGEST}", "alpine"),
    ],
)
def test_pattern_stops_every_other_image(pattern: str, reference: str) -> None:
    assert not allowed(pattern, reference)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "a**b",
        "*a*",
        "ghcr.io/**",
        "ghcr.io*/a",
        "*.io/a",
        "gh*.io/a",
        "*:1",
        f"*@{DIGEST}",
        f"ghcr.io/a/*@{DIGEST}",
        f"alpine:*@{DIGEST}",
        "alpine:*.*",
        "Alpine",
        "ghcr.io/a//*",
        "ghcr.io/",
        "a:",
        " alpine",
        "https://ghcr.io/a",
    ],
)
def test_pattern_that_could_surprise_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse_pattern(pattern)
    assert all(path and text for path, text in caught.value.problems)


@given(REFERENCES)
def test_reference_as_its_own_pattern_allows_exactly_itself(written: str) -> None:
    assert allowed(written, written)
    assert not allowed(written, "evil.example/" + written.rpartition("/")[2])


def test_path_on_docker_hub_that_looks_like_a_registry_keeps_its_registry() -> None:
    verdict = decide(Allowlist(), "docker.io/a.b_c/d")
    assert not verdict.allowed
    assert '"docker.io/a.b_c/d:latest"' in verdict.advice


# --- decisions ---------------------------------------------------------------------------------------------


def test_empty_allowlist_allows_nothing_and_says_so() -> None:
    verdict = decide(Allowlist(), "alpine")
    assert not verdict.allowed
    assert "empty" in verdict.reason
    assert '"alpine:latest"' in verdict.advice


def test_first_matching_rule_decides_and_is_named() -> None:
    rules = (ImageRule("ghcr.io/x/*"), ImageRule("alpine"), ImageRule("*"))
    verdict = decide(Allowlist(rules), "alpine")
    assert (verdict.allowed, verdict.rule, verdict.index) == (True, rules[1], 1)
    assert "images[1]" in verdict.reason
    assert str(verdict.reference) == "docker.io/library/alpine:latest"
    assert verdict.pinned == ""


@pytest.mark.parametrize("rule", [ImageRule("mcp/playwright", DIGEST), ImageRule(f"mcp/playwright@{DIGEST}")])
def test_rule_with_a_digest_makes_the_run_use_that_digest(rule: ImageRule) -> None:
    pinned = f"docker.io/mcp/playwright@{DIGEST}"
    assert decide(Allowlist((rule,)), "mcp/playwright").pinned == pinned
    assert decide(Allowlist((rule,)), f"mcp/playwright:7@{DIGEST}").pinned == pinned
    assert not decide(Allowlist((rule,)), f"mcp/playwright@{OTHER}").allowed


def test_digest_that_the_server_asks_for_is_what_runs() -> None:
    verdict = decide(Allowlist((ImageRule("alpine:*"),)), f"alpine:3@{DIGEST}")
    assert verdict.pinned == f"docker.io/library/alpine@{DIGEST}"


def test_refusal_names_the_rule_that_has_the_repository_but_not_the_version() -> None:
    verdict = decide(Allowlist((ImageRule("busybox"), ImageRule("alpine:3.20"))), "alpine:3.19")
    assert (verdict.allowed, verdict.index) == (False, 1)
    assert "images[1]" in verdict.reason
    assert "3.19" in verdict.reason


@given(REFERENCES, st.lists(st.sampled_from(["busybox:1", "ghcr.io/none/*", f"mcp/a@{OTHER}"]), max_size=3))
def test_line_that_a_refusal_advises_allows_the_image(written: str, patterns: list[str]) -> None:
    rules = tuple(ImageRule(pattern) for pattern in patterns)
    refused = decide(Allowlist(rules), written)
    if refused.allowed:
        return
    line = refused.advice.split('"')[1]
    assert decide(Allowlist((*rules, ImageRule(line))), written).allowed
