"""The benchmark: measures this gateway, others, and servers without any gateway, in one way. See README.md."""
