"""The session as a page in a browser of the box, and who may ask for it."""
