"""Monitoring a model in service."""
