"""Tasks for lmms-eval, scored by this package: README.md has the commands.

Importing it needs no lmms-eval: the YAML files and `utils.py` are what lmms-eval loads.
"""
