"""Model source ``fsspec`` for mmeframe: a folder of models in any fsspec file system, such as s3://bucket/models.

Importing it imports nothing heavy: fsspec and MLflow are imported where they are used.
"""
