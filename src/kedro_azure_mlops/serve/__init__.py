"""Servers around the one score function: Azure's, one without Azure, and a device's bundle."""
