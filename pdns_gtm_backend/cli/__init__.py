"""gtmctl: the command line of an operator, a client of the admin API."""
