"""SAM's masks of a folder of images as files: the format, its reader and its writer."""
