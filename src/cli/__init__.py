"""The `aiqyn` command."""
