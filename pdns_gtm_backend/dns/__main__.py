"""`python -m pdns_gtm_backend.dns`: the backend process, set up by the environment (README, settings)."""

import logging
import sys

from pydantic import ValidationError

from pdns_gtm_backend.dns.server import Server
from pdns_gtm_backend.settings import Settings


def main() -> int:
    """Serve until SIGTERM. 2 = a setting is wrong; what is said names it."""
    try:
        settings = Settings()
    except ValidationError as error:
        for found in error.errors(include_url=False):
            sys.stderr.write(f"GTM_{str(found['loc'][0]).upper()}: {found['msg']}\n")
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
