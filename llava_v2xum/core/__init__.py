"""Time, frames, tasks, citations, summaries and annotations as plain values: the standard library and NumPy alone."""
