import os

MAX_PIXELS = 32_000_000
"""Of an image that is decoded."""

os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)  # OpenCV reads it when it is imported, and that is later
