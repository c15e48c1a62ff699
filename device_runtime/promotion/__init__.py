"""Is what an update made fit to serve? What is measured, and what is decided from it."""
