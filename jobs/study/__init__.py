"""A whole study from one file: what it asks for, planned as steps, run where anything is missing, ended by the report."""
