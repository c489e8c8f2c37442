"""Anomaly detection in temperature series: the core scripts, free of Azure."""

__version__ = "0.1.0"
