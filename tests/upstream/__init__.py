"""What this project uses of upstream packages, held against the releases that are installed; see `__main__`."""
