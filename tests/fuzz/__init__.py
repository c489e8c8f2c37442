"""Broken input for the three readers: files, requests, configuration. See ``__main__``."""
