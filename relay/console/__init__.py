"""The provisioning console on the cable: its own small process, bare Python until the first CR."""
