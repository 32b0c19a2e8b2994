"""`python -m pdns_gtm_backend.dns`: the backend process, set up by the environment (README, settings)."""

import logging
import socket
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from pdns_gtm_backend.dns.listening import inherited, keep, make
from pdns_gtm_backend.dns.unix_parent import REPLACING, WORKER_ARGUMENT, Parent
from pdns_gtm_backend.long_lived import long_lived
from pdns_gtm_backend.settings import Settings

WRONG_SETTING = 2


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM. 2 = a setting is wrong; what is said names it."""
    try:
        settings = Settings()
    except ValidationError as error:
        for found in error.errors(include_url=False):
            sys.stderr.write(f"GTM_{str(found['loc'][0]).upper()}: {found['msg']}\n")
        return WRONG_SETTING
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _serve(settings, arguments)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_SETTING
    return 0


def _serve(settings: Settings, arguments: Sequence[str]) -> None:
    """What serves is imported where it is needed: the unix transport's parent stays small, and takes new code."""
    if settings.transport == "http":
        from pdns_gtm_backend.dns.server import Server

        Server(settings, inherited(settings, arguments)).run()
    elif arguments[:1] == [WORKER_ARGUMENT]:
        with long_lived():
            from pdns_gtm_backend.dns.backend import Backend
            from pdns_gtm_backend.dns.unix import serve

        listening, control = (socket.socket(fileno=int(number)) for number in arguments[1:3])
        backend = Backend(settings)
        backend.start()
        backend.wait_until_known(replacing=REPLACING in arguments[3:])
        serve(backend, listening, control, (settings.listen, settings.backend_port))
    else:
        listening = inherited(settings, arguments) or make(settings)
        keep(listening.fileno())
        Parent(listening).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
