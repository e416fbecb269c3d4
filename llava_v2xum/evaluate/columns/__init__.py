"""The columns of a report: one video's prediction against its annotation, measure by measure."""
