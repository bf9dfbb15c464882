"""The Engine API subset against a real engine. Every container here carries the labels, so a leak is noticed."""

from __future__ import annotations

import io
import queue
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from metamcp.errors import EngineUnavailable
from metamcp.runtime.engine import NETWORK_SECONDS, Engine
from metamcp.runtime.events import EventStream
from metamcp.runtime.facts import EngineEvent
from metamcp.runtime.labels import INSTANCE, SESSION, Identity, container_labels, container_name
from metamcp.runtime.reaper import clear, orphans, strays
from metamcp.runtime.teardown import make_gone

pytestmark = pytest.mark.engine

TINY = "metamcp-tiny:test"
ME = Identity("test-engine-api", "now")
BOUND = 30.0


def docker(engine: Any, *args: str, given: bytes | None = None) -> str:
    argv = ["docker", *args]
    done = subprocess.run(argv, env=engine.env, input=given, capture_output=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def busybox_root() -> bytes:
    """A root file system with nothing but /bin/busybox under the names that the tests call."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(Path("/bin/busybox").resolve(), "bin/busybox")
        for name in ("cat", "sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return content.getvalue()


@pytest.fixture(scope="session")
def tiny(engine: Any) -> str:
    if not Path("/bin/busybox").exists():
        pytest.skip("needs Debian's busybox-static")
    docker(engine, "import", "--change", "USER 65534:65534", "-", TINY, given=busybox_root())
    return TINY


@pytest.fixture
def api(engine: Any) -> Iterator[Engine]:
    with Engine(engine.host) as client:
        yield client


@pytest.fixture
def unique(request: pytest.FixtureRequest, api: Engine) -> Iterator[str]:
    """Names the containers of one test; whatever it leaves is removed."""
    yield request.node.name
    for item in api.containers({INSTANCE: ME.instance, SESSION: request.node.name}):
        api.remove(item.id)


def start(engine: Any, unique: str, *command: str, identity: Identity = ME, flags: tuple[str, ...] = ()) -> str:
    labels = container_labels(identity, "git", unique, "f00d")
    given = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    name = container_name("git", f"{unique} {identity}")
    return docker(engine, "run", "-d", "--network", "none", "--name", name, *given, *flags, TINY, *command)


def create(engine: Any, unique: str, name: str) -> str:
    """As a docker command line leaves it that is killed before it can start its container."""
    labels = container_labels(ME, "git", unique, "f00d")
    given = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    return docker(engine, "create", "--network", "none", "--name", name, *given, TINY, "sleep", "60")


def of(unique: str) -> dict[str, str]:
    return {INSTANCE: ME.instance, SESSION: unique}


def networks(engine: Any, name: str) -> list[str]:
    return docker(engine, "network", "ls", "--quiet", "--filter", f"name=^{name}$").split()


def next_event(events: queue.Queue[EngineEvent | None], action: str) -> EngineEvent:
    until = time.monotonic() + BOUND
    while time.monotonic() < until:
        event = events.get(timeout=until - time.monotonic())
        assert event is not None, "the stream ended"
        if event.action == action:
            return event
    raise AssertionError(f"no {action} event")


def reading(stream: EventStream) -> tuple[threading.Thread, queue.Queue[EngineEvent | None]]:
    """Reads in a thread until the end, which arrives as None."""
    events: queue.Queue[EngineEvent | None] = queue.Queue()

    def read() -> None:
        for event in stream:
            events.put(event)
        events.put(None)

    thread = threading.Thread(target=read, name="event-reader")
    thread.start()
    return thread, events


def test_engine_tells_its_version_and_what_it_can_limit(api: Engine) -> None:
    api.ping()
    assert api.version().os == "linux"
    assert api.version().api_version.startswith("1.")
    info = api.info()
    assert info.storage_driver
    assert info.cgroup_version in {"1", "2"}
    assert info.kernel
    assert info.default_runtime in info.runtimes


def test_image_that_is_there_is_described(api: Engine, tiny: str) -> None:
    found = api.image(tiny)
    assert found is not None
    assert found.id.startswith("sha256:")
    assert found.user == "65534:65534"
    assert found.size > 100_000
    assert found.repo_digests == ()  # never pushed


def test_image_that_is_missing_is_none(api: Engine) -> None:
    assert api.image("metamcp-nope:none") is None


def test_malformed_reference_is_refused_with_the_form_to_write(api: Engine) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        api.image("UPPER:case")
    assert "malformed" in caught.value.hint


def test_containers_are_found_by_all_labels_at_once(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    started = start(engine, unique, "sleep", "60")
    (found,) = api.containers(of(unique))
    assert found.id == started
    assert found.name.startswith("metamcp-git-")
    assert found.state == "running"
    assert found.image == tiny
    assert abs(found.created - time.time()) < 3600
    assert api.containers({**of(unique), "metamcp.server": "other"}) == []


def test_stopped_container_is_listed_only_when_all_are_asked_for(
    api: Engine, engine: Any, tiny: str, unique: str
) -> None:
    docker(engine, "wait", start(engine, unique, "sh", "-c", "exit 0"))
    assert api.containers(of(unique), all=False) == []
    (found,) = api.containers(of(unique))
    assert found.state == "exited"


def test_running_container_is_removed_and_stays_gone(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    started = start(engine, unique, "sleep", "60")
    assert api.remove(started) is True
    assert api.inspect(started) is None
    assert api.remove(started) is True  # gone is gone


def test_removal_by_many_at_once_is_fine_for_all(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    started = start(engine, unique, "sleep", "60")
    answers: queue.Queue[bool] = queue.Queue()
    threads = [threading.Thread(target=lambda: answers.put(api.remove(started))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert [answers.get_nowait() for _ in threads] == [True] * 8
    assert api.containers(of(unique)) == []


def test_killed_container_reports_137_in_its_last_event(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    stream = api.events(of(unique))
    thread, events = reading(stream)
    started = start(engine, unique, "sleep", "60")
    assert next_event(events, "start").id == started
    assert api.kill(started) is True
    died = next_event(events, "die")
    assert (died.id, died.exit_code) == (started, 137)
    assert died.labels[SESSION] == unique
    assert abs(died.time - time.time()) < 3600
    assert api.kill(started) is False
    stream.close()
    thread.join(BOUND)
    assert not thread.is_alive()


def test_kill_of_an_unknown_container_is_false(api: Engine) -> None:
    assert api.kill("0" * 64) is False


def test_memory_of_a_running_container_is_known_and_of_others_not(
    api: Engine, engine: Any, tiny: str, unique: str
) -> None:
    started = start(engine, unique, "sleep", "60")
    memory = api.stats_memory(started)
    assert memory is not None
    assert 0 < memory < 512 * 1024 * 1024
    api.kill(started)
    docker(engine, "wait", started)
    assert api.stats_memory(started) is None
    assert api.stats_memory("0" * 64) is None


def test_inspect_shows_the_labels(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    found = api.inspect(start(engine, unique, "sleep", "60"))
    assert found is not None
    assert found["Config"]["Labels"][SESSION] == unique


def test_events_of_the_past_are_delivered_from_since(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    begun = time.time() - 1
    docker(engine, "wait", start(engine, unique, "sh", "-c", "exit 7"))
    stream = api.events(of(unique), since=begun)
    thread, events = reading(stream)
    assert next_event(events, "die").exit_code == 7
    stream.close()
    thread.join(BOUND)


def test_events_of_other_labels_are_not_delivered(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    other, mine = api.events({INSTANCE: "somebody-else"}), api.events(of(unique))
    threads = [reading(other), reading(mine)]
    start(engine, unique, "sleep", "60")
    next_event(threads[1][1], "start")
    other.close()
    mine.close()
    for thread, _ in threads:
        thread.join(BOUND)
    assert threads[0][1].get(timeout=BOUND) is None


def test_closing_wakes_a_reader_that_waits(api: Engine) -> None:
    stream = api.events({INSTANCE: "nobody"})
    thread, events = reading(stream)
    stream.close()
    assert events.get(timeout=BOUND) is None
    thread.join(BOUND)
    stream.close()  # twice is fine


def test_closing_the_engine_ends_its_streams(engine: Any) -> None:
    client = Engine(engine.host)
    read, unread = client.events({INSTANCE: "nobody"}), client.events({INSTANCE: "nobody"})
    thread, events = reading(read)
    client.close()
    assert events.get(timeout=BOUND) is None
    thread.join(BOUND)
    assert list(unread) == []


def test_silence_longer_than_the_timeout_does_not_end_a_stream(
    engine: Any, tiny: str, api: Engine, unique: str
) -> None:
    with Engine(engine.host, timeout=0.3) as hurried:
        stream = hurried.events(of(unique))
        thread, events = reading(stream)
        with pytest.raises(queue.Empty):
            events.get(timeout=1.0)
        start(engine, unique, "sleep", "60")
        next_event(events, "start")
        stream.close()
        thread.join(BOUND)


def test_one_engine_serves_many_threads(api: Engine, tiny: str) -> None:
    found: queue.Queue[object] = queue.Queue()
    threads = [threading.Thread(target=lambda: found.put(api.image(tiny))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert {found.get_nowait() for _ in threads} == {api.image(tiny)}


def test_many_gateways_that_want_an_internal_network_end_with_one(api: Engine, engine: Any) -> None:
    name = "metamcp-test-internal"
    try:
        with ExitStack() as gateways:
            others = [gateways.enter_context(Engine(engine.host)) for _ in range(5)]
            threads = [threading.Thread(target=it.ensure_internal_network, args=(name,)) for it in (*others, api, api)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(2 * NETWORK_SECONDS)
        (only,) = networks(engine, name)
        assert docker(engine, "network", "inspect", "--format", "{{.Internal}}", only) == "true"
        api.ensure_internal_network(name)
        assert networks(engine, name) == [only]
    finally:
        docker(engine, "network", "rm", *networks(engine, name))


def test_network_with_a_way_out_is_refused(api: Engine, engine: Any) -> None:
    name = "metamcp-test-open"
    docker(engine, "network", "create", name)
    try:
        with pytest.raises(EngineUnavailable, match="not an internal network"):
            api.ensure_internal_network(name)
    finally:
        docker(engine, "network", "rm", name)


def test_a_sweep_removes_dead_generations_and_strays_of_this_instance_and_nothing_else(
    api: Engine, engine: Any, tiny: str, unique: str
) -> None:
    dead = start(engine, unique, "sleep", "60", identity=Identity(ME.instance, "before"))
    alive = start(engine, unique, "sleep", "60")
    stray = create(engine, unique, "never-started")
    other = start(engine, unique, "sleep", "60", identity=Identity("test-engine-neighbour", "before"))
    try:
        found = api.containers({INSTANCE: ME.instance})
        living = [item.name for item in found if item.id == alive]
        doomed = [*orphans(found, ME), *strays(found, ME, living)]
        assert {item.id for item in doomed} == {dead, stray}
        assert set(clear(api, ME, doomed)) == {item.name for item in doomed}
        assert [item.id for item in api.containers(of(unique))] == [alive]
        assert api.inspect(other) is not None
    finally:
        api.remove(other)


def test_a_container_is_made_gone_by_its_name(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    started = start(engine, unique, "sleep", "60")
    found = api.inspect(started)
    assert found is not None
    name = found["Name"].removeprefix("/")
    assert make_gone(api, name) == "removed"
    assert make_gone(api, name) == "absent"


def test_image_events_come_with_those_of_containers(api: Engine, engine: Any, tiny: str, unique: str) -> None:
    stream = api.events({}, None, ("container", "image"), ("create", "tag", "untag", "die"))
    thread, events = reading(stream)
    docker(engine, "tag", tiny, f"metamcp-tagged:{unique.replace('_', '-')[:40]}")
    tagged = next_event(events, "tag")
    assert tagged.kind == "image" and tagged.name.startswith("metamcp-tagged:")
    started = start(engine, unique, "sh", "-c", "exit 4")
    made = next_event(events, "create")
    assert (made.kind, made.id) == ("container", started) and made.name.startswith("metamcp-git-")
    assert next_event(events, "die").exit_code == 4
    docker(engine, "rmi", tagged.name)
    assert next_event(events, "untag").kind == "image"
    stream.close()
    thread.join(BOUND)
