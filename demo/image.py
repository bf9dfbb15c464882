"""Container images without a registry: a root file system made from the interpreter that runs this.

``rootfs_tar`` writes it as a tar stream, ``import_image`` hands it to ``docker import``. The same machine gives
the same bytes each time: entries are sorted, carry the time 0 and belong to root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import marshal
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

PYTHON = "/usr/local/bin/python3"
USER_ID = 65532

_LEFT_OUT = re.compile(
    r"__pycache__|tests?|_test.*|_ctypes_test.*|xx.*|(site|dist)-packages|config-\d.*"
    r"|idlelib|tkinter|_tkinter.*|turtledemo|ensurepip|lib2to3|pydoc_data"
)
# The C library loads these by name, so that ldd does not show them. A thread that ends needs the first.
_LOADED_LATE = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PASSWD = f"root:x:0:0:root:/root:/bin/sh\nmcp:x:{USER_ID}:{USER_ID}:mcp:/tmp:/bin/sh\n"
_GROUP = f"root:x:0:\nmcp:x:{USER_ID}:\n"

Contents = Mapping[str, bytes | Path]


def rootfs_tar(out: BinaryIO, extra_files: Contents) -> None:
    """Writes a root file system to ``out``: this interpreter and ``extra_files`` (absolute path → contents).

    Raises FileNotFoundError where the machine has no ``ldd`` or an extra file is missing.
    """
    files: dict[str, bytes | Path] = {**_system_files(), **_python_files(), **extra_files}
    entries: list[tuple[tarfile.TarInfo, bytes | Path]] = [(_folder(path), b"") for path in _folders(files)]
    entries += [(_link(path, target), b"") for path, target in _links(files).items()]
    entries += [(_file(path, contents), contents) for path, contents in files.items()]
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for info, contents in sorted(entries, key=lambda entry: entry[0].name):
            tar.addfile(info, io.BytesIO(_bytes(contents)))


def import_image(
    tag: str,
    extra_files: Contents,
    *,
    entrypoint: Sequence[str],
    cmd: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> str:
    """Makes the image ``tag`` with ``rootfs_tar`` and returns its id (``sha256:…``). ``timeout`` is in seconds.

    ``env`` is the environment of the docker command (None: this process's own). Raises
    subprocess.CalledProcessError with the engine's own words in ``stderr``, or subprocess.TimeoutExpired.
    """
    former = image_ids(tag, env=env)
    changes = [f"ENTRYPOINT {json.dumps(list(entrypoint))}", f"CMD {json.dumps(list(cmd))}"]
    changes += [f"USER {USER_ID}:{USER_ID}"]
    changes += [f"LABEL {json.dumps(key)}={json.dumps(value)}" for key, value in (labels or {}).items()]
    stream = io.BytesIO()
    rootfs_tar(stream, extra_files)
    arguments = ["import", *(word for change in changes for word in ("-c", change)), "-", tag]
    image = _docker(arguments, env, timeout, stream.getvalue())
    _remove_untagged(former, env)
    return image


def image_ids(tag: str, *, label: str | None = None, env: Mapping[str, str] | None = None) -> list[str]:
    """The image behind ``tag`` (a list of none or one), only if it carries ``label`` (``key=value``) when given."""
    wanted = ["--filter", f"label={label}"] if label else []
    return _docker(["image", "ls", "-q", "--no-trunc", *wanted, tag], env).split()


def _remove_untagged(ids: Iterable[str], env: Mapping[str, str] | None) -> None:
    """What the tag named before would stay on the disk for ever. Refusals (a container uses it) do not matter."""
    for image in ids:
        with contextlib.suppress(subprocess.CalledProcessError):
            if _docker(["image", "inspect", "--format", "{{len .RepoTags}}", image], env) == "0":
                _docker(["image", "rm", image], env)


def _docker(arguments: Sequence[str], env: Mapping[str, str] | None, timeout: float = 30, stdin: bytes = b"") -> str:
    argv = ["docker", *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, env=env, check=True)
    return done.stdout.decode().strip()


# --- what goes in ------------------------------------------------------------------------------------------


def _system_files() -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {"/etc/passwd": _PASSWD.encode(), "/etc/group": _GROUP.encode()}
    certificates = next((Path(path) for path in _CERTIFICATES if Path(path).exists()), None)
    if certificates:
        files["/etc/ssl/certs/ca-certificates.crt"] = certificates
    busybox = shutil.which("busybox")
    if busybox and _is_static(busybox):
        files["/bin/busybox"] = Path(busybox)
    return files


def _python_files() -> dict[str, bytes | Path]:
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    extensions = dict(_extensions())
    files: dict[str, bytes | Path] = {PYTHON: executable, **dict(_library()), **extensions}
    files |= {f"/lib/{library.name}": library for library in _shared_libraries([executable, *extensions.values()])}
    return files


def _library_root() -> str:
    """Where the interpreter looks for its library when it lies in /usr/local/bin."""
    return f"/usr/local/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"


def _library() -> Iterator[tuple[str, bytes | Path]]:
    for path, source in _walk(Path(sysconfig.get_path("stdlib"))):
        if source.suffix == ".py":
            target = f"{_library_root()}/{path}"
            yield target, source
            yield importlib.util.cache_from_source(target, optimization=""), _bytecode(source)


def _extensions() -> Iterator[tuple[str, Path]]:
    for path, source in _walk(Path(sysconfig.get_path("stdlib"), "lib-dynload")):
        if source.suffix == ".so":
            yield f"{_library_root()}/lib-dynload/{path}", source


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """(path below root, file) of all that is wanted, links followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _LEFT_OUT.fullmatch(name)]
        for name in names:
            path = Path(folder, name)
            if not _LEFT_OUT.fullmatch(name) and path.is_file():
                yield str(path.relative_to(root)), path.resolve()


def _bytecode(source: Path) -> bytes:
    """A .pyc that is never checked against its source (PEP 552): the tar gives every file the time 0.

    Takes over the machine's own where that is fresh, which is much faster than compiling.
    """
    text = source.read_bytes()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(text)
    stat = source.stat()
    fresh = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size)
    cached = Path(importlib.util.cache_from_source(str(source), optimization=""))
    if cached.is_file() and (bytecode := cached.read_bytes()).startswith(fresh):
        return header + bytecode[len(fresh) :]
    with warnings.catch_warnings(action="ignore"):  # about foreign code
        return header + marshal.dumps(compile(text, source.name, "exec", dont_inherit=True))


def _shared_libraries(binaries: Sequence[Path]) -> list[Path]:
    """What ``binaries`` load, and the loader itself, under the names by which they ask for it."""
    argv = ["ldd", *map(str, binaries)]
    listing = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
    found = {Path(path).name: Path(path) for path in re.findall(r"(/\S+) \(0x", listing)}
    beside = {found[name].parent for name in found if name.startswith("libc.")}
    late = [folder / name for folder in beside for name in _LOADED_LATE]
    return [*found.values(), *(path for path in late if path.exists() and path.name not in found)]


def _is_static(binary: str) -> bool:
    return subprocess.run(["ldd", binary], capture_output=True, timeout=10, check=False).returncode != 0


# --- how it is written -------------------------------------------------------------------------------------


def _links(files: Contents) -> dict[str, str]:
    # /lib alone is searched by the loaders of all distributions, but many binaries name their loader in /lib64.
    links = {"/lib64": "lib", "/usr/local/bin/python": "python3"}
    if "/bin/busybox" in files:
        links |= {f"/bin/{applet}": "busybox" for applet in ("sh", "cat", "echo", "env", "id", "ls", "sleep")}
    return links


def _folders(files: Contents) -> list[str]:
    parents = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    return sorted((parents | {"/tmp", "/root"}) - {"/"})


def _folder(path: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755
    return info


def _link(path: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info


def _file(path: str, contents: bytes | Path) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.size = len(contents) if isinstance(contents, bytes) else contents.stat().st_size
    info.mode = 0o755 if isinstance(contents, Path) and os.access(contents, os.X_OK) else 0o644
    return info


def _bytes(contents: bytes | Path) -> bytes:
    return contents if isinstance(contents, bytes) else contents.read_bytes()
