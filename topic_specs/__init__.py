"""The shipped topic specs, one YAML file per topic; the folder is data, not code."""
