"""What is measured: accuracy by protocol, wrong frames, a box, live cameras; `harm` and `speed` are folders."""
