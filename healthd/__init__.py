"""The prober: one process for each vantage, probing addresses and keeping their verdicts."""
