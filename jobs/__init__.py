"""What a command does: plan the units, run them on Ray or in this process, record, summarise."""
