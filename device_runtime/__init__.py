"""The half of Reverie that runs on the edge box: numpy, OpenCV and onnxruntime-training, never torch."""
