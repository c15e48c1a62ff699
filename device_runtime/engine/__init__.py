"""The one place that knows onnxruntime: graphs that run, and networks that take optimizer steps."""
