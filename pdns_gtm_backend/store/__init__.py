"""Redis: keys, atomic writes, the change feed, and the snapshot that everything is read from."""
