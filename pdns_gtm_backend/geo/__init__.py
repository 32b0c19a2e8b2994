"""From an address to a place: databases of countries and autonomous systems, looked up in memory and reloaded live."""
