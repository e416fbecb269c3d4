"""The stages: select, caption, extract, filter, refine."""
