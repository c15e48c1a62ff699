"""What is measured: accuracy by protocol, poisoned frames, a box, live cameras; `speed` has a folder of its own."""
