"""Makes the image of the demo servers: ``python demo/make_image.py [--tag TAG] [--force] [--from-machine]``.

With ``docker build`` where the base image is present or can be pulled, otherwise from this machine's own Python,
so that the demo runs without a registry. Does nothing when the image is already there and up to date.
Ends with 0, or 3 if no engine answers, or 1 with the engine's own words.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# A script's import path holds its own folder only; the tests import this package from the root.
from demo.image import PYTHON, image_ids, import_image  # noqa: E402

TAG = "metamcp-demo:local"
BASE = "python:3.12-slim"
LABEL = "metamcp.demo"
SOURCES = ("server.py", "Dockerfile", "image.py", "make_image.py")
NO_ENGINE = 3

ENGINE_SECONDS, PULL_SECONDS, BUILD_SECONDS = 3, 60, 120


def fingerprint() -> str:
    """Changes whenever the image would."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def make(tag: str, *, force: bool, from_machine: bool) -> str:
    """Makes the image where it is lacking or old; returns one line that says what was done."""
    label = fingerprint()
    if not force and image_ids(tag, label=f"{LABEL}={label}"):
        return f"{tag} is up to date"
    if not from_machine and _build(tag, label):
        return f"{tag} built on {BASE}"
    _import(tag, label)
    return f"{tag} made from this machine's Python {sys.version.split()[0]}"


def _build(tag: str, label: str) -> bool:
    present = _succeeds(["image", "inspect", BASE], 30) or _succeeds(["pull", "--quiet", BASE], PULL_SECONDS)
    argv = ["build", "--quiet", "--build-arg", f"BASE={BASE}", "--label", f"{LABEL}={label}", "--tag", tag, str(HERE)]
    return present and _succeeds(argv, BUILD_SECONDS)


def _import(tag: str, label: str) -> None:
    entrypoint = [PYTHON, "-I", "-S", "/server.py"]
    import_image(tag, {"/server.py": HERE / "server.py"}, entrypoint=entrypoint, cmd=["hello"], labels={LABEL: label})


def _succeeds(arguments: Sequence[str], seconds: float) -> bool:
    """Whether ``docker ARGUMENTS`` ends well in time. A missing docker command is a no."""
    try:
        subprocess.run(["docker", *arguments], input=b"", capture_output=True, timeout=seconds, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, FileNotFoundError):
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes the image of the demo servers.")
    parser.add_argument("--tag", default=TAG)
    parser.add_argument("--force", action="store_true", help="make it even if it is up to date")
    parser.add_argument("--from-machine", action="store_true", help="do not try docker build")
    return parser


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if not _succeeds(["version", "--format", "{{.Server.Version}}"], ENGINE_SECONDS):
        print(f"No Docker engine answers within {ENGINE_SECONDS} s: start one, or set DOCKER_HOST.", file=sys.stderr)
        return NO_ENGINE
    try:
        print(make(options.tag, force=options.force, from_machine=options.from_machine))
    except subprocess.CalledProcessError as refused:
        print(f"{options.tag} could not be made: {refused.stderr.decode(errors='replace').strip()}", file=sys.stderr)
        return 1
    except (subprocess.TimeoutExpired, FileNotFoundError) as failed:
        print(f"{options.tag} could not be made: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
