"""Summaries in the files of players, editors and tables."""
