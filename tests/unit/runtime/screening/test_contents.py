from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc

import pytest

from metamcp.runtime.screening.contents import OutOfTimeError, of_contents

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n"


def tar(files: dict[str, tuple[int, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, (mode, content) in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def saved(*layers: bytes) -> io.BytesIO:
    """As ``docker save`` writes it: layers between JSON documents."""
    files = {f"{number}/layer.tar": (0o644, layer) for number, layer in enumerate(layers)}
    return io.BytesIO(tar({"manifest.json": (0o644, b"[]"), **files, "blobs/sha256/1": (0o644, b"{}")}))


def found(*layers: bytes) -> dict[str, str]:
    return {finding.rule: finding.text for finding in of_contents(saved(*layers), lambda: True)}


def test_clean_image_has_no_finding() -> None:
    clean = {"usr/bin/x": (0o755, b"x"), "etc/ssl/cert.pem": (0o644, b"-----BEGIN CERTIFICATE-----"),
             "tmp/x": (0o666, b""), "app/.npmrc": (0o644, b"//r/:_authToken=${TOKEN}")}  # fmt: skip
    assert found(tar(clean)) == {}


@pytest.mark.parametrize(
    ("name", "mode", "content", "rule"),
    [
        ("usr/bin/su", 0o4755, b"", "setuid-files"),
        ("./usr/bin/wall", 0o2755, b"", "setuid-files"),
        ("etc/passwd", 0o666, b"", "world-writable-files"),
        ("usr/lib/x.so", 0o777, b"", "world-writable-files"),
        ("root/.aws/credentials", 0o600, b"", "credential-files"),
        ("home/me/.ssh/id_ed25519", 0o600, b"", "credential-files"),
        ("app/server.key", 0o600, KEY, "credential-files"),
        ("app/.npmrc", 0o600, b"//r/:_authToken=abc", "credential-files"),
    ],
)
def test_fault_is_found_by_its_path(name: str, mode: int, content: bytes, rule: str) -> None:
    told = found(tar({name: (mode, content)}))
    assert list(told) == [rule] and name.removeprefix("./") in told[rule]


def test_file_that_a_later_layer_hides_is_found_and_layers_may_be_compressed() -> None:
    hidden = gzip.compress(tar({"app/id_rsa": (0o600, KEY)}))
    assert "credential-files" in found(hidden, tar({"app/.wh.id_rsa": (0o600, b"")}))


def test_many_faults_are_counted_and_a_few_named() -> None:
    told = found(tar({f"usr/bin/{number}": (0o4755, b"") for number in range(30)}))
    assert told["setuid-files"].endswith("/usr/bin/4 and 25 more")


def test_large_image_takes_little_memory() -> None:
    stream = saved(tar({f"usr/share/{number}": (0o644, bytes(64 * 1024)) for number in range(500)}))
    tracemalloc.start()
    try:
        of_contents(stream, lambda: True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_image_that_takes_too_long_is_given_up() -> None:
    answers = iter([True, True, False])
    with pytest.raises(OutOfTimeError):
        of_contents(saved(tar({f"{number}": (0o644, b"") for number in range(9)})), lambda: next(answers))


@pytest.mark.parametrize("text", [b"", b"no archive at all", b"\0" * 100])
def test_what_is_no_archive_is_told(text: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        of_contents(io.BytesIO(text), lambda: True)


def test_archive_that_breaks_off_is_told() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        of_contents(io.BytesIO(saved(tar({"a": (0o644, bytes(9000))})).getvalue()[:4000]), lambda: True)
