"""What `demo/demo.py` does with images, videos and cameras."""
