"""The world becomes inputs: cameras, streams, video files and images, and the preprocessing of a bundle."""
