"""Routing strategy ``nearest`` for mmeframe: the key is the name of the nearest site.

Importing it imports nothing heavy: scikit-learn, pandas and numpy are imported where they are used.
"""
