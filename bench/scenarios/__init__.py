"""What is measured: each module has one scenario, a coroutine that returns a JSON document."""
