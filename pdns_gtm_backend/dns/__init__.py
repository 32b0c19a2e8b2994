"""The remote-backend protocol: what PowerDNS asks, answered from the snapshot."""
