"""A whole study from one file: its steps, planned, run where anything is missing, and ended by the report."""
