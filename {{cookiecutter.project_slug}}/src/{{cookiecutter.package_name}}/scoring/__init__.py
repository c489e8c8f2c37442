"""What turns readings into scores, wherever a model is served: numpy and, for its forest, ONNX."""
