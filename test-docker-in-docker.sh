#!/bin/sh
# Can the gateway use Docker from where it runs? In its container or on its machine:
#     docker exec metamcp /app/test-docker-in-docker.sh
#     ./test-docker-in-docker.sh -h
# Needs neither curl nor jq: the work is deploy/docker_test.py, done by the gateway's own Python.
set -eu
root=$(cd "$(dirname "$0")" && pwd)
[ -d "$root/metamcp" ] || root=/opt/metamcp
for python in "$root/.venv/bin/python" /opt/venv/bin/python python3; do
    command -v "$python" >/dev/null 2>&1 && break
done
PYTHONPATH=$root exec "$python" "$root/deploy/docker_test.py" "$@"
