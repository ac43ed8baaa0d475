"""Reports on training runs: what an evaluation shows of a model, kept in a file, and pages made from these files."""
