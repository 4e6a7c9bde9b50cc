"""Load test: many simultaneous clients send valid, invalid and huge images to the web page and the served model."""
