"""Measurements, each relative to something measured in the same run. ``python -m bench`` runs all."""
