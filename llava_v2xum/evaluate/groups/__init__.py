"""The groups of a report, V2V, V2T and V2VT: predictions against annotations, metric by metric."""
