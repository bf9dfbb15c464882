"""deploy/systemd: systemd understands all of it, and who gets what is as docs/security.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from gateway_process import ROOT
from other_user import require_root

from metamcp.config.settings import VARIABLES

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = sorted(path.name for path in FOLDER.glob("*.service"))
MOST_EXPOSED = 30
"""Of 100, as systemd-analyze security counts it; a unit that says nothing of it has 96."""


def said(*argv: str, given: str = "") -> str:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def require_systemd() -> None:
    if shutil.which("systemd-analyze") is None:
        give_up = pytest.fail if os.environ.get("REQUIRE_ENGINE") == "1" else pytest.skip
        give_up("systemd-analyze is not installed (Debian: apt-get install systemd)")


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, with programs that are there: the verification looks for them."""
    require_systemd()
    (tmp_path / "bin").mkdir()
    for name in ("gunicorn", "python"):
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    for name in SERVICES:
        text = (FOLDER / name).read_text().replace("/opt/metamcp/.venv/bin", f"{tmp_path}/bin")
        (tmp_path / name).write_text(text.replace("WorkingDirectory=/opt/metamcp", f"WorkingDirectory={tmp_path}"))
    return [str(tmp_path / name) for name in SERVICES]


def settings(name: str) -> list[tuple[str, str]]:
    lines = (FOLDER / name).read_text().splitlines()
    return [(key, value) for key, equals, value in (line.partition("=") for line in lines) if equals and key[0] != "#"]


def values(name: str, key: str) -> list[str]:
    return " ".join(value for found, value in settings(name) if found == key).split()


def test_systemd_has_nothing_to_say_against_any_unit(units: list[str]) -> None:
    assert len(units) == 3
    assert said("systemd-analyze", "verify", "--man=no", *units) == ""


def test_units_are_as_closed_as_they_claim(units: list[str]) -> None:
    for unit in units:
        said("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", unit)


def test_only_what_is_not_the_web_tier_gets_the_group_of_the_engine_and_the_secrets() -> None:
    assert values("metamcp-supervisor.service", "SupplementaryGroups") == ["docker", "metamcp-web"]
    for name in ("metamcp-web.service", "metamcp.service"):
        assert values(name, "SupplementaryGroups") == []
    web = "metamcp-web.service"
    assert {"/etc/metamcp", "-/run/docker.sock"} <= set(values(web, "InaccessiblePaths"))
    assert values(web, "EnvironmentFile") == ["-/etc/metamcp/web-environment"]
    assert values(web, "CapabilityBoundingSet") == values("metamcp-supervisor.service", "CapabilityBoundingSet") == []
    assert values("metamcp.service", "CapabilityBoundingSet") == ["CAP_SETUID", "CAP_SETGID"]
    assert all(values(name, "NoNewPrivileges") == ["yes"] for name in SERVICES)


def test_every_variable_that_a_unit_sets_is_one_of_the_gateways() -> None:
    for name in SERVICES:
        names = {word.partition("=")[0] for word in values(name, "Environment")}
        assert names and names <= {*VARIABLES, "PYTHONPATH"}, name


def test_users_and_folders_come_out_as_the_services_need_them(tmp_path: Path) -> None:
    require_systemd()
    require_root()
    (tmp_path / "etc").mkdir()
    said("systemd-sysusers", f"--root={tmp_path}", "-", given=(FOLDER / "metamcp.sysusers").read_text())
    users = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert groups["metamcp-web"][3] == "metamcp"
    said("systemd-tmpfiles", f"--root={tmp_path}", "--create", "-", given=(FOLDER / "metamcp.tmpfiles").read_text())
    user_ids = {"root": 0} | {name: int(fields[2]) for name, fields in users.items()}
    group_ids = {name: int(fields[2]) for name, fields in groups.items()}
    for path, mode, user, group in [
        ("etc/metamcp", 0o750, "root", "metamcp"),
        ("var/lib/metamcp", 0o710, "metamcp", "metamcp-web"),
        ("var/lib/metamcp/access", 0o750, "metamcp", "metamcp-web"),
        ("run/metamcp", 0o750, "metamcp", "metamcp-web"),
    ]:
        found = (tmp_path / path).stat()
        expected = (mode, user_ids[user], group_ids[group])
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == expected, path
