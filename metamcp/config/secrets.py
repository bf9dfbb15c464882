"""``${NAME}``, ``${NAME:-default}`` and ``${file:/run/secrets/x}``: values put in at the moment of use.

``$${`` is a literal ``${``; every other ``$`` stays as it is. Texts of errors name the secret, never its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metamcp.config.model import ServerSpec
from metamcp.errors import SecretMissing

MAX_SECRET_BYTES = 64 * 1024

ReadFile = Callable[[str], str]

_TOKEN = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)", re.DOTALL)
_INNER = re.compile(r"file:(?P<file>/[^\0]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_SECRET_NAME = re.compile(r"auth|cookie|credential|key|pass|pwd|secret|token", re.IGNORECASE)
_SHORTEST_CALLED = 8  # "none", "true", "basic": a name that sounds so may hold what no log could do without
_PASSWORD = re.compile(r"://[^/@\s]*?:([^/@\s]+)@")
_SCHEME = re.compile(r"^(?:bearer|basic|token) ?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ResolvedServer:
    """What a child or a remote connection really gets. ``secrets``, longest first, for masking, never shown: every
    substituted value, and of what stands in the configuration itself, what its name or place calls a secret."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]


def resolve(text: str, environ: Mapping[str, str], read_file: ReadFile) -> str:
    """The text with every ``${…}`` replaced. ``read_file`` takes the path and may raise OSError or ValueError.
    Raises SecretMissing with the name that is not set or cannot be read."""
    return _substitute(text, environ, read_file, [])


def resolve_server(spec: ServerSpec, environ: Mapping[str, str], read_file: ReadFile) -> ResolvedServer:
    """Args, env, url and headers of one server, resolved. Raises SecretMissing, with the server's name."""
    found: list[str] = []

    def put_in(text: str) -> str:
        return _substitute(text, environ, read_file, found)

    try:
        args = tuple(map(put_in, spec.args))
        env = {name: put_in(value) for name, value in spec.env.items()}
        url = put_in(spec.url)
        headers = {name: _one_line(name, put_in(value)) for name, value in spec.headers.items()}
    except SecretMissing as missing:
        raise SecretMissing(missing.text, **{**missing.data, "server": spec.name}) from None
    found += _called_secret({**env, **headers}) + _passwords((*args, *env.values(), url))
    secrets = sorted({value for value in found if value}, key=lambda value: (-len(value), value))
    return ResolvedServer(args, env, url, headers, tuple(secrets))


def _called_secret(values: Mapping[str, str]) -> list[str]:
    """Many a configuration holds its key in clear; of "Bearer x" it is x that must not be shown."""
    called = [value for name, value in values.items() if len(value) >= _SHORTEST_CALLED and _SECRET_NAME.search(name)]
    return called + [last for value in called if len(last := value.rpartition(" ")[2]) >= _SHORTEST_CALLED]


def _passwords(texts: Iterable[str]) -> list[str]:
    """Of URLs with a user: ``postgres://me:password@host``."""
    return [password for text in texts for password in _PASSWORD.findall(text)]


def in_clear(name: str, text: str) -> bool:
    """Whether what ``name`` calls a secret stands in ``text`` itself, or a URL in it has its password there."""
    literal = _SCHEME.sub("", _TOKEN.sub("", text)).strip()
    return bool(_called_secret({name: literal}) or _passwords([_TOKEN.sub("", text)]))


def sounds_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def only_references(text: str) -> bool:
    """Whether nothing stands in ``text`` itself but how it is meant (``Bearer``): neither beside a ``${…}`` nor as its
    default."""
    inner = (_INNER.fullmatch(token[1] or "") for token in _TOKEN.finditer(text))
    if any(found is not None and found["default"] for found in inner):
        return False
    return not _SCHEME.sub("", _TOKEN.sub("", text)).strip()


def template_problem(text: str) -> str | None:
    """What is wrong with the ``${…}`` of a text, or None. The answer repeats nothing of the text."""
    for token in _TOKEN.finditer(text):
        if token[1] is None:
            continue
        if not token[2]:
            return "a ${ has no closing }; write $${ for a literal ${"
        inner = _INNER.fullmatch(token[1])
        if inner is None:
            return "a ${…} is none of ${NAME}, ${NAME:-default}, ${file:/path}; write $${ for a literal ${"
        if "${" in (inner["default"] or ""):
            return "a default cannot contain another ${…}"
    return None


def read_secret_file(path: str) -> str:
    """The ``read_file`` of a running gateway: a UTF-8 file of at most 64 KiB. Raises OSError or ValueError."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError("longer than 64 KiB")
    return content.decode("utf-8")


def _substitute(text: str, environ: Mapping[str, str], read_file: ReadFile, found: list[str]) -> str:
    def value_of(token: re.Match[str]) -> str:
        if token[1] is None:
            return "${"
        inner = _INNER.fullmatch(token[1]) if token[2] else None
        if inner is None:
            raise SecretMissing(template_problem(text) or "a ${…} cannot be understood")
        return _value(inner, environ, read_file, found)

    return _TOKEN.sub(value_of, text)


def _value(inner: re.Match[str], environ: Mapping[str, str], read_file: ReadFile, found: list[str]) -> str:
    name, default = inner["name"], inner["default"]
    if inner["file"]:
        value = _from_file(inner["file"], read_file)
    elif environ.get(name) or (name in environ and default is None):
        value = environ[name]
    elif default is not None:
        return default
    else:
        advice = f"set it in the gateway's environment, or write ${{{name}:-default}}"
        raise SecretMissing(f"the environment variable {name} is not set: {advice}", name=name)
    found.append(value)
    return _without_nul(name or f"file:{inner['file']}", value)


def _from_file(path: str, read_file: ReadFile) -> str:
    name = f"file:{path}"
    try:
        content = read_file(path)
    except OSError as failed:
        reason = failed.strerror or "it cannot be read"
        raise SecretMissing(f"the secret file {path} cannot be read: {reason}", name=name) from None
    except ValueError:
        raise SecretMissing(f"the secret file {path} is not UTF-8 text of at most 64 KiB", name=name) from None
    return content.removesuffix("\n").removesuffix("\r")


def _without_nul(name: str, value: str) -> str:
    if "\0" in value:
        raise SecretMissing(f"the value of {name} contains a NUL byte, which nothing can be given", name=name)
    return value


def _one_line(header: str, value: str) -> str:
    """A line break in a secret would end the header and begin another one."""
    if _CONTROL.search(value):
        raise SecretMissing(f"the value of the header {header} would contain a line break", name=header)
    return value
