"""What rows and answers are made of: MLflow's types, and the labels of rows. Imports neither MLflow nor a bundle."""
