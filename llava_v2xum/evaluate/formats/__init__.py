"""Prediction and annotation files, read, told apart, written, and brought together."""
