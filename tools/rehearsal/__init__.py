"""Short updates played at the workstation with images of the history: what they teach goes into the manifest."""
