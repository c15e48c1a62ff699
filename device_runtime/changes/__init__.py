"""What a command changes in a home, whole or not at all: install, upgrade, update, purge; and what verifies it."""
