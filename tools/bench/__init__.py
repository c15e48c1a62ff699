"""What is measured: accuracy by protocol, wrong frames, a box, live cameras; `harm` and `speed` have folders of their own."""
