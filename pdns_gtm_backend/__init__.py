"""pdns-gtm: a Global Traffic Manager that PowerDNS asks through its remote backend."""
