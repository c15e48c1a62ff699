"""The graphs of a bundle: made in torch, exported, given gradients, and compared with torch."""
