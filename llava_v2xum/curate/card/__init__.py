"""The data card: what a set is like and how it was made."""
