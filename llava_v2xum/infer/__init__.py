"""Videos in, summaries out: the Summarizer, its engine, and the command, on one machine or many."""
