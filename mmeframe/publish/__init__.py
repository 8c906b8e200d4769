"""What is made: a fleet is packed, logged, proved and registered. The one place that logs routers to MLflow."""
