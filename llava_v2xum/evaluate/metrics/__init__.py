"""The metrics: pure functions on arrays and texts; no model is known here."""
