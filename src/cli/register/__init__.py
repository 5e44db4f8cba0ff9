"""Importing an old register: read, mapped and checked here, then sent to a service over HTTP."""
