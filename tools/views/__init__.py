"""Somebody at a camera: the session that is shown, and the terminal and the window that show it."""
