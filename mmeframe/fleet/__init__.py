"""What is there: sub-models are listed, pinned, described and checked, with what an earlier build knows of them.

Writes nothing to MLflow.
"""
