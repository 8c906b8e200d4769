"""Rows: batches, their keys, schemas and types, and answers. Imports neither MLflow nor a bundle."""
