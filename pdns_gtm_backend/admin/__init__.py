"""The admin API: HTTP for what `operations` can do."""
