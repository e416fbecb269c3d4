"""`--engine ray`: the same stages as a Ray Data pipeline."""
