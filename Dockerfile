# The gateway as an image:
#     docker build -t metamcp:latest --build-arg REVISION="$(git rev-parse HEAD)" .
# BASE may be a mirror's name of the same image, and may carry its digest (python:3.13-slim-trixie@sha256:…), which makes
# two builds start from the same bytes. It has to be Debian 13 with Python 3.13: docker-cli is a package of its own there.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS packages
# mcp is the client of the tests; what the gateway runs on is the rest. No compiler: every package comes as a wheel.
# TRACES=1 adds what traces need (docs/operations.md).
ARG TRACES=
COPY requirements.txt requirements-otel.txt /tmp/
RUN sed '/^mcp==/d' /tmp/requirements.txt > /tmp/gateway.txt \
    && python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
       --only-binary :all: -r /tmp/gateway.txt ${TRACES:+-r /tmp/requirements-otel.txt} \
    && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

FROM ${BASE}
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ca-certificates docker-cli tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log

# Numbers that stay the same, since files of the host may belong to them. The supervisor gives the link to the group of
# the web tier; nobody else is in a group of the other.
RUN groupadd --gid 10001 metamcp \
    && groupadd --gid 10002 metamcp-web \
    && useradd --uid 10001 --gid 10001 --groups 10002 --no-create-home --home-dir /var/lib/metamcp \
       --shell /usr/sbin/nologin metamcp \
    && useradd --uid 10002 --gid 10002 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin metamcp-web
# /app is closed to the web tier, so it cannot read the configuration there, whatever its files allow. Volumes begin as
# what they are mounted on: the link's and the keys' folder are for the web tier to go through and to read.
RUN install -d -o root -g metamcp -m 0750 /app /app/config \
    && install -d -o metamcp -g metamcp-web -m 0710 /var/lib/metamcp \
    && install -d -o metamcp -g metamcp-web -m 0750 /var/lib/metamcp/access /run/metamcp

COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/metamcp
COPY wsgi.py ./
COPY config/gunicorn.conf.py config/
COPY deploy/*.py deploy/
COPY test-docker-in-docker.sh /app/
COPY metamcp metamcp
RUN python3 -m compileall -q -j 0 metamcp

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/metamcp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    METAMCP_BIND=0.0.0.0:12009 \
    METAMCP_CONFIG_DIR=/app/config \
    METAMCP_STATE_DIR=/var/lib/metamcp \
    METAMCP_WEB_USER=metamcp-web \
    METAMCP_SUPERVISOR_USER=metamcp

VOLUME /var/lib/metamcp
EXPOSE 12009
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-I", "-S", "/opt/metamcp/deploy/healthcheck.py"]

# Begins as root, which it needs for nothing but to become two other users, at once and for good; it takes CAP_SETUID and
# CAP_SETGID (docs/decisions.md). Where both variables are empty, it stays the user that it was started as.
ENTRYPOINT ["python3", "-m", "metamcp.separation", "tini", "--"]
CMD ["gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]

# Last: they change with every build.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG BASE
LABEL org.opencontainers.image.title="MetaMCP" \
      org.opencontainers.image.description="An MCP gateway that runs MCP servers as Docker containers" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
