"""What a measurement costs: CPU and memory of processes, slices of it, and the machine's own pauses."""
