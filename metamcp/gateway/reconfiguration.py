"""Another configuration in the place of the one in force, within one turn of the reactor: no client sees half of it."""

from __future__ import annotations

from dataclasses import dataclass

from metamcp.config.live import Live
from metamcp.config.loader import Loaded
from metamcp.config.plan import Plan
from metamcp.gateway.admission import Admission
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.router import Router
from metamcp.runtime.image_ids import ImageIds
from metamcp.runtime.stderr import StderrLog
from metamcp.upstream.era import Eras
from metamcp.upstream.pool import UpstreamPool


@dataclass(frozen=True, slots=True)
class Reconfiguration:
    """Everybody who keeps something by the names of the configuration. Whoever only reads it reads ``live``."""

    live: Live
    pool: UpstreamPool
    images: ImageIds
    eras: Eras
    catalog: Catalog
    namespaces: Namespaces
    router: Router
    admission: Admission
    stderr: StderrLog

    def apply(self, loaded: Loaded, plan: Plan, at: float) -> None:
        """``at``: Unix seconds. For the reactor's thread."""
        before = self.namespaces.views()
        self.live.replace(loaded, at)
        for name in plan.servers.retired:
            self.eras.forget(name)
        self.pool.reconfigure(loaded.config.servers, plan.servers.retired)
        for name in plan.servers.removed:
            self.images.remove(name)
            self.catalog.remove(name)
        for name in (*plan.servers.changed, *plan.servers.added):
            self.images.put(loaded.config.servers[name])
            self.catalog.put(loaded.config.servers[name])
        self.stderr.keep(loaded.config.servers)
        self.router.follow(before)
        self.admission.follow()
