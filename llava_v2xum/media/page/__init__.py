"""Summaries as pages that a browser shows: one file a video, one a run."""
