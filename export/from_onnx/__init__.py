"""A solver given as a file in ONNX format becomes a torch module with the file's weights."""
