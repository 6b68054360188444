"""How fast the series trains: measured side by side with the conventional pipeline, by ./run_all.sh --benchmark."""
