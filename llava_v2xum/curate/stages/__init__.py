"""The stages, each in a file of its own; `registry.py` has their order."""
