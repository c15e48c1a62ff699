"""Operators that cannot train on a device are written in those that can."""
