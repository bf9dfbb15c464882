"""The application for a WSGI server (``gunicorn -c config/gunicorn.conf.py wsgi:app``): the web tier alone."""

import os

from metamcp.config.settings import Settings
from metamcp.factory.web import build_web
from metamcp.telemetry import logs

_settings = Settings.from_env(os.environ)
logs.configure(_settings.log_level, _settings.log_format)
app = build_web(_settings)
