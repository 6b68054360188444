"""What is told of the runs: tables, texts, and the pages of a browser."""
