"""`python -m pdns_gtm_backend.cli`, the same as `gtmctl`."""

from pdns_gtm_backend.cli.main import main

if __name__ == "__main__":
    main()
