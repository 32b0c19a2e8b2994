"""The HTTP server of the admin API: gunicorn with one worker process of some threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication

from pdns_gtm_backend.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

    from pdns_gtm_backend.admin.services import Services

THREADS: Final = 8
KEEPALIVE_SECONDS: Final = 75
GRACEFUL_SECONDS: Final = 5
FIRST_SNAPSHOT_SECONDS: Final = 2.0
"""How long a new worker waits for Redis before it serves the snapshot on disk."""


class Server(BaseApplication):  # type: ignore[misc]
    """Serves one application; made anew in each worker, so that SIGHUP starts a fresh one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.services: Services | None = None
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings; a command line or a file of its own is not read."""
        settings = self.settings
        host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
        options: dict[str, Any] = {
            "bind": [f"{host}:{settings.admin_port}"],
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "keepalive": KEEPALIVE_SECONDS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "control_socket_disable": True,
            "proc_name": "pdns-gtm-admin",
            "worker_exit": _worker_exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker: its threads would not survive a fork."""
        from pdns_gtm_backend.admin.app import create_app
        from pdns_gtm_backend.admin.services import Services

        self.services = Services(self.settings)
        self.services.start()
        self.services.follower.wait_until_known(FIRST_SNAPSHOT_SECONDS)
        return create_app(self.services)


def _worker_exit(_arbiter: object, worker: Any) -> None:
    services = worker.app.services
    if services is not None:
        services.stop()
