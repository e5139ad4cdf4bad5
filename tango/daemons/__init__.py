"""The three daemons: wiring between controllers, wire and adapters, and nothing else."""
