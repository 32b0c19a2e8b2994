"""`python -m pdns_gtm_backend.admin`: the admin process, set up by the environment (README, settings)."""

import logging
import sys

from pydantic import ValidationError

from pdns_gtm_backend.admin.server import Server
from pdns_gtm_backend.operations.sealing import sealer_of
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.connection import connect


def main() -> int:
    """Serve until SIGTERM. 2 = a setting is wrong; what is said names it."""
    try:
        settings = Settings()
        connect(settings.store_url)
        sealer_of(settings.key_secret, settings.var)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            print(f"GTM_{str(found['loc'][0]).upper()}: {found['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    except ValueError as error:
        named = str(error) if str(error).startswith("GTM_") else f"GTM_REDIS_URL: {error}"
        print(named, file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
