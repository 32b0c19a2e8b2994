"""`make run`: the whole system on one machine, in the foreground, from a checkout."""
