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

ASSIGNED = re.compile(r"(?:-e|-H|--env=|--header=)?-{0,2}([A-Za-z_][\w-]*)(?:=|: ?)(.+)", re.DOTALL)
"""In one word of a command: a variable, an option, a header, and its value."""

MAX_SECRET_BYTES = 64 * 1024

ReadFile = Callable[[str], str]

_TOKEN = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)", re.DOTALL)
_INNER = re.compile(r"file:(?P<file>/[^\0]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_SECRET_NAME = re.compile(r"auth|cookie|credential|key|pass|pwd|secret|token", re.IGNORECASE)
_NO_SECRET = re.compile(r"(?:file|path|dir)$|^(?:no|disable|skip)[-_]", re.IGNORECASE)  # its place; that there is none
_SHORTEST_CALLED = 8  # "none", "true", "basic": a name that sounds so may hold what no log could do without
PASSWORD = re.compile(r"://[^/@\s]*?:([^/@\s]+)@")
_SCHEME = re.compile(r"^(?:bearer|basic|token) ?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ResolvedServer:
    """What a child or a remote connection really gets. ``secrets``, longest first, for masking, never shown: every
    substituted value, and of what stands in the configuration itself, what its name or place calls a secret.
    ``passing``: likewise, what its client sent, to be masked as long as the instance lives."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    passing: tuple[str, ...] = ()


def resolve(text: str, environ: Mapping[str, str], read_file: ReadFile) -> str:
    """The text with every ``${…}`` replaced. ``read_file`` takes the path and may raise OSError or ValueError.
    Raises SecretMissing with the name that is not set or cannot be read."""
    return _substitute(text, environ, read_file, [])


def resolve_server(spec: ServerSpec, environ: Mapping[str, str], read_file: ReadFile) -> ResolvedServer:
    """Args, env, url and headers of one server, resolved; what is ``given`` to its client goes before what is for
    everybody. Raises SecretMissing, with the server's name."""
    found: list[str] = []

    def put_in(text: str) -> str:
        return _substitute(text, environ, read_file, found)

    try:
        args = tuple(map(put_in, spec.args))
        url = put_in(spec.url)
        passed = dict(spec.given.values)
        own = {name: put_in(value) for name, value in spec.given.templates.items()}
        env = {name: put_in(value) for name, value in spec.env.items()}
        headers = {name: put_in(value) for name, value in spec.headers.items()}
        if spec.url:
            headers = _headers(headers, own, passed)
        else:
            env, headers = env | own | passed, _headers(headers)
    except SecretMissing as missing:
        raise SecretMissing(missing.text, **{**missing.data, "server": spec.name}) from None
    found += own.values()
    configured = {name: value for name, value in {**env, **headers}.items() if name not in passed}
    found += _called_secret(configured) + _passwords((*args, *configured.values(), url))
    return ResolvedServer(args, env, url, headers, _longest_first(found), _longest_first(passed.values()))


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}, key=lambda value: (-len(value), value)))


def _headers(*layers: Mapping[str, str]) -> dict[str, str]:
    """Of the same header, however it is written, the last one counts."""
    known: dict[str, tuple[str, str]] = {}
    for layer in layers:
        known |= {name.lower(): (name, _one_line(name, value)) for name, value in layer.items()}
    return dict(known.values())


def _called_secret(values: Mapping[str, str]) -> list[str]:
    """Many a configuration holds its key in clear; of "Bearer x" it is x that must not be shown."""
    called = [value for name, value in values.items() if len(value) >= _SHORTEST_CALLED and _SECRET_NAME.search(name)]
    return called + [last for value in called if len(last := value.rpartition(" ")[2]) >= _SHORTEST_CALLED]


def _passwords(texts: Iterable[str]) -> list[str]:
    """Of URLs with a user: ``postgres://me:password@host``."""
    return [password for text in texts for password in PASSWORD.findall(text)]


def sounds_secret(name: str) -> bool:
    """Of a variable, a header, an option, a parameter of a query."""
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET.search(name)


def in_clear(name: str, text: str) -> bool:
    """Whether what ``name`` calls a secret stands in ``text`` itself, or a URL in it has its password there."""
    literal = _SCHEME.sub("", _TOKEN.sub("", text)).strip()
    return bool(_called_secret({name: literal}) or _passwords([_TOKEN.sub("", text)]))


def needed(spec: ServerSpec) -> list[str]:
    """Names of the variables without which the server cannot be used."""
    texts = (*spec.args, *spec.env.values(), spec.url, *spec.headers.values())
    inner = [_INNER.fullmatch(found[1]) for text in texts for found in _TOKEN.finditer(text) if found[1]]
    return list(dict.fromkeys(found["name"] for found in inner if found and found["name"] and found["default"] is None))


def scheme_ends(text: str) -> int:
    """Where the secret of ``Bearer x`` begins; 0 where there is no scheme."""
    found = _SCHEME.match(text)
    return found.end() if found else 0


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
