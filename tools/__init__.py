"""The `reverie` command: one verb a file, each importing what it needs when it runs."""
