"""The six stages of an update, as `update.py` tells them, and what each of them needs."""
