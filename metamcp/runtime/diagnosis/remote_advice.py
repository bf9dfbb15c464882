"""What goes wrong on the way to an engine of another machine: TLS, and ssh. Read by ``advice``."""

from __future__ import annotations

import re

Rule = tuple[re.Pattern[str], str]
"""What a message looks like, and what is to be done."""


def rule(pattern: str, text: str) -> Rule:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), text


# As Go (the docker command) and OpenSSL (the SDK) write them.
_TLS: tuple[Rule, ...] = (
    rule(
        r"client sent an HTTP request to an HTTPS server",
        "The engine at {host} wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder of ca.pem, "
        "cert.pem and key.pem.",
    ),
    rule(
        r"server gave HTTP response to HTTPS client|WRONG_VERSION_NUMBER|first record does not look like a TLS",
        "The engine at {host} does not speak TLS: unset DOCKER_TLS_VERIFY, or use its port with TLS (usually 2376).",
    ),
    rule(
        r"certificate[_ ]required",
        "The engine at {host} wants a certificate of this client: put cert.pem and key.pem beside ca.pem in "
        "DOCKER_CERT_PATH.",
    ),
    rule(
        r"alert unknown ca|remote error: tls: unknown (certificate )?authority|tls: certificate unknown|"
        r"alert certificate unknown",
        "The engine at {host} does not know the authority of cert.pem: have a certificate made by the one of its "
        "--tlscacert, and put it into DOCKER_CERT_PATH.",
    ),
    rule(
        r"certificate has expired|not yet valid|certificate[_ ]expired|expired certificate",
        "A certificate is out of date: make a new one, or correct the clock of this machine and of the engine's.",
    ),
    rule(
        r"certificate is (not )?valid for|(hostname|IP address) mismatch|doesn't match|doesn't contain any IP SANs|"
        r"cannot validate certificate|relies on legacy Common Name",
        "The certificate of the engine is for another name than {host} has: use a name or address of its "
        "subjectAltName, or make one with this name.",
    ),
    rule(
        r"signed by unknown authority|certificate_verify_failed|self[- ]signed certificate|"
        r"unable to get (local )?issuer|failed to verify certificate",
        "The certificate of the engine at {host} is not of the authority in ca.pem: put the ca.pem of this engine into "
        "DOCKER_CERT_PATH.",
    ),
    rule(
        r"private key does not match|key[_ ]values[_ ]mismatch|no start line|\[SSL\] PEM lib|"
        r"unable to (load|parse) .{0,20}(key|certificate)",
        "cert.pem and key.pem do not belong together, or are no PEM files: make both anew.",
    ),
    rule(  # what older engines say of every certificate that they do not take, and what is left where they hang up
        r"bad[_ ]certificate|EOF occurred in violation|UNEXPECTED_EOF",
        "The engine at {host} does not accept this client: DOCKER_CERT_PATH needs cert.pem and key.pem, made by the "
        "authority of the engine's --tlscacert and not out of date.",
    ),
    rule(
        r"x509|tls: |\bSSL\b|tls handshake",
        "TLS towards {host} fails: check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, or use a socket proxy without TLS "
        "on a private network.",
    ),
)
_SSH: tuple[Rule, ...] = (
    rule(
        r"no such file or directory: '(?:[^']*/)?ssh'|exec: \"ssh\": executable file not found",
        "The ssh client is not installed where the supervisor runs: install openssh-client there, or use tcp:// "
        "with TLS.",
    ),
    rule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .{0,200} has changed",
        "The host key of {host} is another one than known_hosts has. If it was renewed, remove the old one with "
        "ssh-keygen -R; if not, somebody may be in between.",
    ),
    rule(
        r"host key verification failed|no .{0,40}host key is known",
        "The host key of {host} is not known to the gateway's user: as that user, ssh there once, or put the key "
        "into ~/.ssh/known_hosts (ssh-keyscan, compared with the machine itself).",
    ),
    rule(
        r"permission denied \([a-z,-]+\)|too many authentication failures|no supported authentication methods",
        "{host} does not let the gateway in: put a key without passphrase into ~/.ssh of its user, or the agent of "
        "SSH_AUTH_SOCK, and the public half into authorized_keys over there. Nobody can type a password.",
    ),
    rule(
        r"unprotected private key|bad permissions|bad owner or permissions",
        "ssh does not take a file that others may read: chmod 600 the key and ~/.ssh/config.",
    ),
    rule(
        r"connect to host .{0,300}(connection refused|no route to host|network is unreachable)",
        "No ssh server answers at {host}: check name and port, and that sshd runs there.",
    ),
    rule(
        r"could not resolve hostname",
        "The name in {host} cannot be resolved: check it, and Host in ~/.ssh/config of the gateway's user.",
    ),
    rule(
        r"docker: (command )?not found|docker: no such file|dial-stdio.{0,40}(unknown|not a docker command)",
        "Over there the docker command is missing or older than 18.09: install it, in the PATH of a session that is "
        "not interactive.",
    ),
    rule(
        r"connection (timed out|closed|reset)|kex_exchange_identification|banner exchange",
        "The ssh server of {host} ends the connection: check a firewall, and raise MaxStartups and MaxSessions in its "
        "sshd_config, since each docker command opens several.",
    ),
)


_REACHED = re.compile(r"unable to find image|error response from daemon(?!.{0,20}client sent)", re.IGNORECASE)
"""The engine itself has spoken: what it says of TLS is about a registry."""


def remote_rules(docker_host: str, text: str) -> tuple[Rule, ...]:
    """Those that come before all others for ``text``, from an engine at this address or on the way to it."""
    scheme = docker_host.partition("://")[0]
    if scheme not in ("tcp", "http", "https", "ssh") or _REACHED.search(text):
        return ()
    return _SSH if scheme == "ssh" else _TLS
