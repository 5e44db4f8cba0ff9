"""HTTP: commands, queries and the log itself."""
