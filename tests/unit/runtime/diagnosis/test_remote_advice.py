"""TLS and ssh on the way to an engine: messages of the docker command (28.2, OpenSSH 9.2) and of Python's OpenSSL."""

from __future__ import annotations

import pytest

from metamcp.runtime.diagnosis.advice import advice

TCP, SSH = "tcp://far:2376", "ssh://op@far"

TLS_OBSERVED = [
    ("Error response from daemon: Client sent an HTTP request to an HTTPS server.", "set DOCKER_TLS_VERIFY=1"),
    ("http: server gave HTTP response to HTTPS client", "does not speak TLS"),
    ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "does not speak TLS"),
    ("tls: first record does not look like a TLS handshake", "does not speak TLS"),
    ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)", "wants a certificate"),
    ("error during connect: Get \"https://far:2376/_ping\": remote error: tls: certificate required", "wants a certif"),
    ("remote error: tls: bad certificate", "does not accept this client"),
    ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2580)", "does not accept this client"),
    ("EOF occurred in violation of protocol (_ssl.c:2427)", "does not accept this client"),
    ("remote error: tls: expired certificate", "out of date"),
    ("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired (_ssl.c:2580)", "out of date"),
    ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)", "authority of cert.pem"),
    ("remote error: tls: unknown certificate authority", "authority of cert.pem"),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "put the ca.pem of"),
    ("certificate verify failed: self-signed certificate in certificate chain", "put the ca.pem of"),
    ("certificate verify failed: unable to get local issuer certificate", "put the ca.pem of"),
    ("x509: certificate is valid for 127.0.0.1, not 127.0.0.2", "for another name"),
    ("certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.2'.", "for another name"),
    ("x509: cannot validate certificate for 1.2.3.4 because it doesn't contain any IP SANs", "for another name"),
    ("x509: certificate has expired or is not yet valid: current time 2026 is after 2025", "out of date"),
    ("certificate verify failed: certificate has expired (_ssl.c:1006)", "out of date"),
    ("tls: private key does not match public key", "do not belong together"),
    ("[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3900)", "do not belong together"),
    ("remote error: tls: handshake failure", "check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"),
]

SSH_OBSERVED = [
    ("[Errno 2] No such file or directory: 'ssh'", "install openssh-client"),
    ('error during connect: exec: "ssh": executable file not found in $PATH', "install openssh-client"),
    ("No ED25519 host key is known for far and you have requested strict checking.\r\nHost key verification failed.",
     "known_hosts"),
    ("@@@@\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\n@@@@\nHost key verification failed.", "ssh-keygen -R"),
    ("op@far: Permission denied (publickey).", "authorized_keys"),
    ("command [ssh -l op -- far docker system dial-stdio] has exited with exit status 255, stderr=op@far: Permission "
     "denied (publickey,password).", "authorized_keys"),
    ("Received disconnect from far: 2: Too many authentication failures", "authorized_keys"),
    ("Permissions 0644 for '/root/.ssh/id' are too open.\nWARNING: UNPROTECTED PRIVATE KEY FILE!", "chmod 600"),
    ("ssh: connect to host far port 22: Connection refused", "No ssh server answers"),
    ("ssh: Could not resolve hostname far: Name or service not known", "cannot be resolved"),
    ("bash: line 1: docker: command not found", "Over there the docker command is missing"),
    ("sh: 1: docker: not found", "Over there the docker command is missing"),
    ("kex_exchange_identification: Connection closed by remote host", "MaxStartups"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TLS_OBSERVED)
def test_message_about_tls_gets_its_own_advice(text: str, expected: str) -> None:
    assert expected in advice(text, TCP, lambda _: 1)


@pytest.mark.parametrize(("text", "expected"), SSH_OBSERVED)
def test_message_about_ssh_gets_its_own_advice(text: str, expected: str) -> None:
    said = advice(text, SSH, lambda _: 1)
    assert expected in said and "{" not in said


@pytest.mark.parametrize("host", ["unix:///var/run/docker.sock", TCP, SSH])
def test_what_a_reached_engine_says_of_a_registry_is_no_matter_of_the_way_to_it(host: str) -> None:
    text = (
        "Unable to find image 'x' locally\ndocker: Error response from daemon: Get \"https://registry.example/v2/\": "
        "tls: failed to verify certificate: x509: certificate signed by unknown authority."
    )
    assert "registry" in advice(text, host)
    alone = 'Error response from daemon: Get "https://r.example/v2/": x509: certificate signed by unknown authority'
    assert "certs.d" in advice(alone, host)


def test_local_engine_is_not_taken_for_a_remote_one() -> None:
    assert "docker-cli" in advice("sh: 1: docker: not found", "unix:///var/run/docker.sock")
    assert "group_add" in advice("permission denied (socket)", "unix:///var/run/docker.sock", lambda _: 1)
