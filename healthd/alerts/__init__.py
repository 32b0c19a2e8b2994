"""Alerts: what the leader tells receivers of events, by which channels, away from probing and deciding."""
