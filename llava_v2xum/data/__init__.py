"""Published annotations -> instruction JSON -> samples and batches."""
