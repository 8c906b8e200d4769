"""Model loader ``onnx`` for mmeframe: ONNX models by ONNX Runtime, from memory, one thread each.

Importing it imports nothing heavy: ONNX Runtime, pandas and numpy are imported where they are used.
"""
