"""Where the supervisor's user finds the engine; the rest of it is tests/integration/test_separation.py."""

from __future__ import annotations

import pwd
from hashlib import sha256
from pathlib import Path

from metamcp import separation
from metamcp.config.settings import Settings

NOBODY = pwd.getpwnam("nobody")


def test_contexts_are_those_of_the_user_who_will_use_them(tmp_path: Path) -> None:
    """HOME decides: root's own context must not be asked for, nor its socket be given to the user."""
    folder = tmp_path / ".docker"
    meta = folder / "contexts/meta" / sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text('{"Endpoints": {"docker": {"Host": "unix:///srv/mine.sock"}}}')
    (folder / "config.json").write_text('{"currentContext": "mine"}')
    assert separation._engine_socket({"HOME": str(tmp_path)}) == Path("/srv/mine.sock")
    environ = {"HOME": str(tmp_path), "PATH": "/bin"}
    of_user = separation._supervisors_environ(Settings(supervisor_user="nobody", web_user="daemon"), environ)
    assert of_user == {"HOME": NOBODY.pw_dir, "PATH": "/bin"}
    assert separation._supervisors_environ(Settings(web_user="daemon"), environ) == environ
    assert separation._supervisors_environ(Settings(supervisor_user="nobody", split=True), environ) == environ


def test_engine_elsewhere_has_no_socket_here() -> None:
    for host in ("tcp://far:1", "ssh://op@far"):
        assert separation._engine_socket({"DOCKER_HOST": host}) is None
