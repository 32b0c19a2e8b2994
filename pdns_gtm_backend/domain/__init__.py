"""Pure values and rules: no IO, no clock, no Redis, no Flask. Time is an argument, in seconds since the epoch."""
