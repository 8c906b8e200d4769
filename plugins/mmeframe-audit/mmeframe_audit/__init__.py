"""Observer ``audit`` for mmeframe: a log of answered batches in Parquet files, without the data.

Importing it imports nothing heavy: pyarrow is imported where it is used.
"""
