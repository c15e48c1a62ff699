"""The same graphs, faster: other operators, and layouts for processors that have kernels for them."""
