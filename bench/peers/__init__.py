"""Who is measured: this gateway in its variants, the ways without a gateway, and others' gateways."""
