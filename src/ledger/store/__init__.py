"""PostgreSQL: recorder, sequencer, vault, migrations and the embedded server."""
