"""Figures with their intervals: tables, pictures, and comparisons."""
