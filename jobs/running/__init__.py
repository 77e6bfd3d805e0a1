"""How units of work are run, and what is told meanwhile. Knows no job."""
