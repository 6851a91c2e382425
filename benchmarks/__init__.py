"""Measurements: run from the repository's root, nothing here is installed or imported by it."""
