"""Combiner ``trimmed`` for mmeframe: the mean without the lowest and highest answers of each row.

Importing it imports nothing heavy: numpy is imported where it is used.
"""
