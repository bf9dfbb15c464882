"""What /docker-test/info shows: the engine, the policy in force, images and containers of this instance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metamcp.config.engine_address import EngineAddress
from metamcp.config.model import Allowance, Allowlist, GatewayConfig, ImageRule, Limits, ServerSpec
from metamcp.runtime.engine import Engine
from metamcp.runtime.facts import ContainerFacts, EngineInfo, EngineVersion
from metamcp.runtime.labels import GENERATION, INSTANCE, SERVER, SESSION, Identity


def info(
    engine: Engine,
    config: GatewayConfig,
    allowlist: Allowlist,
    identity: Identity,
    runtime_name: str,
    image_of: Callable[[ServerSpec], str | None],
    judge: Callable[[ServerSpec], dict[str, Any]] = lambda _spec: {},
) -> dict[str, Any]:
    """The body of /docker-test/info. ``image_of`` reads the image reference out of a server's command, or None;
    ``judge`` adds what is known of that image.

    Raises EngineUnavailable.
    """
    facts = engine.info()
    mine = engine.containers({INSTANCE: identity.instance})
    return {
        "engine": {**version_json(engine.version()), **_info_json(facts)},
        "address": _address_json(engine.address),
        "limitsSupported": _limits_supported(facts),
        "runtime": runtime_name,
        "policy": _policy_json(config, allowlist),
        "images": [
            _image_json(engine, spec, image_of(spec)) | (judge(spec) if image_of(spec) else {})
            for spec in config.servers.values()
        ],
        "containers": [_container_json(item, identity) for item in mine],
    }


def _address_json(address: EngineAddress) -> dict[str, Any]:
    return {"host": address.host, "because": address.because, "tls": address.tls_shown}


def _info_json(facts: EngineInfo) -> dict[str, Any]:
    return {
        "storageDriver": facts.storage_driver,
        "cgroupDriver": facts.cgroup_driver,
        "cgroupVersion": facts.cgroup_version,
        "kernel": facts.kernel,
        "operatingSystem": facts.operating_system,
        "cpus": facts.cpus,
        "memoryBytes": facts.memory_total,
        "defaultRuntime": facts.default_runtime,
        "securityOptions": list(facts.security_options),
        "containersRunning": facts.containers_running,
        "warnings": list(facts.warnings),
    }


def _limits_supported(facts: EngineInfo) -> dict[str, bool]:
    return {
        "memory": facts.memory_limit,
        "swap": facts.swap_limit,
        "cpu": facts.cpu_limit,
        "pids": facts.pids_limit,
    }


def _policy_json(config: GatewayConfig, allowlist: Allowlist) -> dict[str, Any]:
    """What applies to every container, and every place where an operator widened it."""
    return {
        "hardened": {
            "init": True,
            "capDrop": ["ALL"],
            "noNewPrivileges": True,
            "readOnly": True,
            "limits": dataclasses.asdict(Limits()),
        },
        "dryRun": allowlist.dry_run,
        "cosign": dataclasses.asdict(allowlist.cosign) if allowlist.cosign else None,
        "scan": {**dataclasses.asdict(allowlist.scan), "command": list(allowlist.scan.command)},
        "bindRoots": list(allowlist.bind_roots),
        "images": [_rule_json(rule) for rule in allowlist.rules],
        "servers": {
            spec.name: {"network": spec.network, "limits": dataclasses.asdict(spec.limits)}
            for spec in config.servers.values()
        },
    }


def _rule_json(rule: ImageRule) -> dict[str, Any]:
    default, given = dataclasses.asdict(Allowance()), dataclasses.asdict(rule.allow)
    changed = {key: value for key, value in given.items() if value != default[key]}
    more = {"pin": rule.pin, "dryRun": rule.dry_run, "user": rule.user or None}
    return {"pattern": rule.pattern, "digest": rule.digest, "differs": changed, **more}


def _image_json(engine: Engine, spec: ServerSpec, reference: str | None) -> dict[str, Any]:
    found = engine.image(reference) if reference else None
    return {
        "server": spec.name,
        "reference": reference,
        "present": found is not None,
        "id": found.id if found else None,
        "digests": list(found.repo_digests) if found else [],
    }


def _container_json(item: ContainerFacts, identity: Identity) -> dict[str, Any]:
    return {
        "id": item.id[:12],
        "name": item.name,
        "server": item.labels.get(SERVER, ""),
        "session": item.labels.get(SESSION, ""),
        "generation": item.labels.get(GENERATION, ""),
        "current": item.labels.get(GENERATION) == identity.generation,
        "state": item.state,
        "image": item.image,
        "created": item.created,
    }


def version_json(version: EngineVersion) -> dict[str, str]:
    return {
        "version": version.version,
        "apiVersion": version.api_version,
        "os": version.os,
        "arch": version.arch,
    }
