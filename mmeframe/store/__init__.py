"""MLflow's stores: what lies in them, how it is read and written, and how what was half done is undone."""
