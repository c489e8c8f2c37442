"""The model of a tracked run is made again."""
